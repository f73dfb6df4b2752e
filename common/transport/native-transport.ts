/**
 * The transport in C++ (native/). A connection costs a slot of 56 bytes and the kernel's memory,
 * but no JavaScript object, closure or timer. The C++ code collects events, which are fetched here
 * once per turn of the event loop.
 */
import { constants } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isIP, type Server } from 'node:net';
import { arch, platform } from 'node:process';
import { fileURLToPath } from 'node:url';
import { getSystemErrorName } from 'node:util';
import { joinHostPort } from '../net/host-port.js';
import { TLS_FAILURES } from './tls-failures.js';
import type { TlsFiles, TlsIdentity, TlsMaterial } from './tls-identity.js';
import {
  type CloseCause,
  type Connection,
  connectionOf,
  TIMER_RESOLUTION_MS,
  type TlsConnections,
  type Transport,
  type TransportEvents,
  type TransportLimits,
  type TransportMemory,
  WRITE_RESULTS,
  type WriteResult,
} from './transport.js';

/** The functions of native/binding.cc, in its order. Results below 0 are negative errnos. */
interface Binding {
  /** Returns the error, or ''. */
  configureTls(
    chains: readonly Uint8Array[],
    keys: readonly Uint8Array[],
    /** Separated by commas, by certificate. */
    names: readonly string[],
    ticketKeys: readonly Uint8Array[],
    /** The cipher list, and the authorities of client certificates in PEM. */
    texts: readonly [string, string],
    isTls12Allowed: number,
    /** 0: not requested; 1: optional; 2: required. */
    clientCertificates: number,
    startsPlain: number,
  ): string;
  listen(host: string, port: number): number;
  connect(host: string, port: number, localAddress: string): number;
  write(connection: Connection, bytes: Uint8Array): number;
  writeMany(connections: Float64Array, count: number, bytes: Uint8Array, results: Uint8Array): void;
  end(connection: Connection): void;
  destroy(connection: Connection): void;
  secure(connection: Connection, first: Uint8Array): void;
  setTimer(connection: Connection, ticks: number): void;
  bufferedBytes(connection: Connection): number;
  remoteAddress(connection: Connection): string | undefined;
  pause(connection: Connection): void;
  /** 1: piped; 0: not. */
  pipe(one: Connection, other: Connection): number;
  acceptAtMost(count: number): void;
  stopListening(): void;
  close(): void;
  /** Writes the oldest events to the `events` array of the constructor. Returns their number. */
  fetch(): number;
  /** Number of pauses in accepting because descriptors or memory were exhausted. */
  acceptPauses(): number;
  slotBytes(): number;
  /** Capacity of all send buffers, in bytes. */
  sendBufferBytes(): number;
  /** Writes connections and bytes of TLS 1.2, then of TLS 1.3. */
  tlsUsage(usage: Float64Array): void;
  /** Releases all resources except memory. */
  dispose(): void;
}

/** Maximum of the binding's 32-bit counter. */
const ACCEPTS_MAX = 2 ** 32 - 1;

interface Addon {
  readonly Binding: new (
    connectionsMax: number,
    sendBufferBytesMax: number,
    readBuffer: Uint8Array,
    events: Uint32Array,
    onReady: () => void,
    tickMs: number,
  ) => Binding;
  limitSocketBuffers(descriptor: number, bytes: number): void;
  trimMemory(): void;
}

/** Event types, as in native/transport.h. */
const OPEN = 0;
const BYTES = 1;
const END = 2;
const CLOSED = 3;
const CLOSE_CAUSES: readonly CloseCause[] = ['peer', 'local', 'error'];
const OVER_LIMIT = 6;
const TIMER = 7;
const TLS_FAILED = 8;
const CLIENT_CERTIFICATE = 9;
const WORDS_PER_EVENT = 5;
const EVENTS_PER_FETCH = 1_024;
/** Shared by all connections: events are dispatched before the next round of reads. */
const READ_BUFFER_BYTES = 256 * 1024;

export class NativeTransport implements Transport {
  readonly #events: TransportEvents;
  readonly #binding: Binding;
  readonly #readBuffer = Buffer.from(new ArrayBuffer(READ_BUFFER_BYTES));
  readonly #fetched = new Uint32Array(EVENTS_PER_FETCH * WORDS_PER_EVENT);
  /** Closed by the user while events are dispatched: only `onClose` follows. */
  readonly #silenced = new Set<Connection>();
  #isDispatching = false;
  #isDispatchDue = false;

  /**
   * @param identity undefined: without TLS
   * @throws when the addon cannot be loaded
   */
  constructor(
    events: TransportEvents,
    limits: TransportLimits,
    readonly identity?: TlsIdentity,
  ) {
    this.#events = events;
    this.#binding = new (loadAddon().Binding)(
      limits.connectionsMax,
      limits.sendBufferBytesMax,
      this.#readBuffer,
      this.#fetched,
      () => this.#dispatch(),
      TIMER_RESOLUTION_MS,
    );
    identity?.onChange((material) => this.#useTls(material, identity.files));
  }

  async listen(host: string, port: number): Promise<number> {
    const address = isIP(host) === 0 ? (await lookup(host)).address : host;
    const result = this.#binding.listen(address, port);
    if (result >= 0) return result;
    const code = getSystemErrorName(result);
    const message = `listen ${code}: ${joinHostPort(host, port)}`;
    throw Object.assign(new Error(message), { code });
  }

  connect(host: string, port: number, localAddress: string): Connection | undefined {
    const connection = this.#binding.connect(host, port, localAddress);
    this.#dispatchSoon();
    return connection < 0 ? undefined : connection;
  }

  write(connection: Connection, bytes: Uint8Array): WriteResult {
    const result = WRITE_RESULTS[this.#binding.write(connection, bytes)]!;
    if (result === 'gone') this.#dispatchSoon();
    return result;
  }

  writeMany(
    connections: Float64Array,
    count: number,
    bytes: Uint8Array,
    results: Uint8Array,
  ): void {
    this.#binding.writeMany(connections, count, bytes, results);
    this.#dispatchSoon();
  }

  secure(connection: Connection, first: Uint8Array): void {
    this.#binding.secure(connection, first);
    this.#dispatchSoon();
  }

  setTimer(connection: Connection, afterMs: number): void {
    // One more tick, because part of the current one has already passed.
    const ticks = afterMs === 0 ? 0 : Math.ceil(afterMs / TIMER_RESOLUTION_MS) + 1;
    this.#binding.setTimer(connection, ticks);
  }

  end(connection: Connection): void {
    this.#binding.end(connection);
    this.#silence(connection);
  }

  destroy(connection: Connection): void {
    this.#binding.destroy(connection);
    this.#silence(connection);
  }

  bufferedBytes(connection: Connection): number {
    return this.#binding.bufferedBytes(connection);
  }

  remoteAddress(connection: Connection): string | undefined {
    return this.#binding.remoteAddress(connection);
  }

  pause(connection: Connection): void {
    this.#binding.pause(connection);
  }

  pipe(one: Connection, other: Connection): boolean {
    const isPiped = this.#binding.pipe(one, other) === 1;
    // The call may have closed both.
    this.#dispatchSoon();
    return isPiped;
  }

  acceptAtMost(count: number): void {
    this.#binding.acceptAtMost(Math.min(count, ACCEPTS_MAX));
  }

  stopListening(): void {
    this.#binding.stopListening();
  }

  acceptPauses(): number {
    return this.#binding.acceptPauses();
  }

  memory(): TransportMemory {
    const [, tls12, , tls13] = this.#tlsUsage();
    return {
      slots: this.#binding.slotBytes(),
      sendBuffers: this.#binding.sendBufferBytes(),
      tls12: tls12!,
      tls13: tls13!,
    };
  }

  tlsConnections(): TlsConnections {
    const [tls12, , tls13] = this.#tlsUsage();
    return [
      ['1.2', tls12!],
      ['1.3', tls13!],
    ];
  }

  #tlsUsage(): Float64Array {
    const usage = new Float64Array(4);
    this.#binding.tlsUsage(usage);
    return usage;
  }

  close(): Promise<void> {
    this.#binding.close();
    return new Promise((resolve) => {
      setImmediate(() => {
        this.#dispatch();
        this.#binding.dispose();
        resolve();
      });
    });
  }

  #useTls({ certificates, ticketKeys, clientCa }: TlsMaterial, files: TlsFiles): void {
    const { minVersion, clients, startsPlain } = files;
    const error = this.#binding.configureTls(
      certificates.map(({ cert }) => cert),
      certificates.map(({ key }) => key),
      certificates.map(({ names }) => names.join()),
      ticketKeys,
      [constants.defaultCipherList, String(clientCa ?? '')],
      minVersion === 'TLSv1.2' ? 1 : 0,
      clients === undefined ? 0 : clients.isRequired ? 2 : 1,
      startsPlain ? 1 : 0,
    );
    if (error !== '') throw new Error(error);
  }

  #silence(connection: Connection): void {
    if (this.#isDispatching) this.#silenced.add(connection);
    else this.#dispatchSoon();
  }

  /** Dispatches events that were caused by a call of the user. */
  #dispatchSoon(): void {
    if (this.#isDispatching || this.#isDispatchDue) return;
    this.#isDispatchDue = true;
    setImmediate(() => {
      this.#isDispatchDue = false;
      this.#dispatch();
    });
  }

  #dispatch(): void {
    this.#isDispatching = true;
    for (let count = this.#binding.fetch(); count > 0; count = this.#binding.fetch()) {
      for (let i = 0; i < count; i++) this.#dispatchOne(i * WORDS_PER_EVENT);
    }
    this.#silenced.clear();
    this.#isDispatching = false;
  }

  #dispatchOne(at: number): void {
    const type = this.#fetched[at]!;
    const connection = connectionOf(this.#fetched[at + 1]!, this.#fetched[at + 2]!);
    if (type >= CLOSED && type < OVER_LIMIT) {
      this.#events.onClose(connection, CLOSE_CAUSES[type - CLOSED]!);
    } else if (type === OVER_LIMIT) {
      this.#events.onOverLimit();
    } else if (type === TLS_FAILED) {
      this.identity?.onFailed(TLS_FAILURES[this.#fetched[at + 3]!]!);
    } else if (type === OPEN) {
      this.#events.onOpen(connection);
    } else if (this.#silenced.has(connection)) {
      // The user closed it during an earlier event of this batch.
    } else if (type === BYTES) {
      this.#events.onBytes(connection, this.#bytesOf(at));
    } else if (type === CLIENT_CERTIFICATE) {
      this.#events.onClientCertificate?.(connection, this.#bytesOf(at));
    } else if (type === END) {
      this.#events.onEnd(connection);
    } else if (type === TIMER) {
      this.#events.onTimer(connection);
    }
  }

  #bytesOf(at: number): Buffer {
    const offset = this.#fetched[at + 3]!;
    return this.#readBuffer.subarray(offset, offset + this.#fetched[at + 4]!);
  }
}

/**
 * Bounds what the kernel holds of each connection of a listening server, in each direction. Without
 * the addon, only the kernel's own bounds apply: some megabytes.
 */
export function limitSocketBuffers(server: Server, bytes: number): void {
  if (nativeUnavailableReason() !== undefined) return;
  // Node.js has no public name for it.
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
  loadAddon().limitSocketBuffers(fd, bytes);
}

/** Gives freed memory back to the system, if the C library can and the addon is there. */
export function trimMemory(): void {
  if (nativeUnavailableReason() === undefined) loadAddon().trimMemory();
}

/** Why the addon cannot be loaded; undefined if it can. */
export function nativeUnavailableReason(): string | undefined {
  try {
    loadAddon();
    return undefined;
  } catch (error) {
    return (error as Error).message.split('\n', 1)[0];
  }
}

function loadAddon(): Addon {
  // Built on this machine, or shipped with the package; seen from the sources, and from dist/.
  const files = ['build/transport.node', `prebuilds/${platform}-${arch}/transport.node`];
  const places = ['../..', '../../..'].flatMap((root) => files.map((file) => `${root}/${file}`));
  const paths = places.map((place) => fileURLToPath(new URL(place, import.meta.url)));
  const path = paths.find((each) => existsSync(each));
  if (path === undefined) throw new Error('it was not built; `npm run build` reports why');
  return createRequire(import.meta.url)(path);
}

/**
 * Devices of one process that behave as real ones: each has an SSE connection, follows redirects
 * and the URL of a GOAWAY, and reconnects, with its newest id, after a rejection, a silence or the
 * end of its connection.
 */
import { backoffMs } from '../../../common/process/backoff.js';
import { openTransport } from '../../../common/transport/open-transport.js';
import { type Connection, slotOf, type Transport } from '../../../common/transport/transport.js';
import { redirectOf, type Target, targetOf } from './redirect.js';

export interface SseDevicesOptions {
  /** Third number of their source addresses, 127.0.x.y. */
  readonly network: number;
  /** Connect requests in progress. */
  readonly connectingMax: number;
}

export interface DeviceCounts {
  readonly connected: number;
  /** Devices that have received fewer pushes than expected. */
  readonly missing: number;
  /** Pushes that a device has received again. */
  readonly doubled: number;
  readonly redirects: number;
  readonly goaways: number;
  /** Connects that failed, were rejected or not answered. */
  readonly failures: number;
  /** Connections that ended without a GOAWAY. */
  readonly ended: number;
}

interface Device {
  /** Where it connects without a redirect. */
  readonly entry: Target;
  connection: Connection | undefined;
  /** Where it connects, or is connected. */
  target: Target;
  isConnected: boolean;
  /** Its connection is about to close because of a GOAWAY. */
  isLeaving: boolean;
  sinceMs: number;
  failures: number;
  /** Text of the answer or event that is not complete yet. */
  rest: string;
  newestId: string;
  received: number;
}

const CONNECTIONS_MAX = 19_500;
/** Finding a free port takes the kernel longer the fewer ports an address has left. */
const ADDRESSES = 64;
const ANSWER_MS_MAX = 20_000;
const BACKOFF_MS_MAX = 5_000;
const SWEEP_MS = 1_000;
/** A chunk with a comment. No event is incomplete before it. */
const HEARTBEAT = '2\r\n:\n\r\n';

export class SseDevices {
  readonly #options: SseDevicesOptions;
  readonly #transport: Transport;
  readonly #devices: Device[] = [];
  readonly #bySlot: (Device | undefined)[] = [];
  #queue: Device[] = [];
  readonly #connecting = new Set<Device>();
  #opened = 0;
  #connected = 0;
  #doubled = 0;
  #redirects = 0;
  #goaways = 0;
  #failures = 0;
  #ended = 0;

  constructor(options: SseDevicesOptions) {
    this.#options = options;
    const { transport } = openTransport(
      undefined,
      {
        onOpen: (connection) => this.#request(connection),
        onBytes: (connection, bytes) => this.#onBytes(connection, bytes.toString('latin1')),
        onEnd: (connection) => transport.end(connection),
        onClose: (connection) => this.#onClose(connection),
        onOverLimit: () => {},
        onTimer: () => {},
      },
      { connectionsMax: CONNECTIONS_MAX, sendBufferBytesMax: 64 * 1024 },
    );
    this.#transport = transport;
    setInterval(() => this.#sweep(), SWEEP_MS);
  }

  /** Connects one more device. */
  add(entryUrl: string): void {
    const entry = targetOf(entryUrl);
    const device: Device = {
      entry,
      connection: undefined,
      target: entry,
      isConnected: false,
      isLeaving: false,
      sinceMs: 0,
      failures: 0,
      rest: '',
      newestId: '',
      received: 0,
    };
    this.#devices.push(device);
    this.#queue.push(device);
    this.#connectMore();
  }

  /** @param expected pushes that each device should have received by now */
  counts(expected: number): DeviceCounts {
    return {
      connected: this.#connected,
      missing: this.#devices.filter(({ received }) => received < expected).length,
      doubled: this.#doubled,
      redirects: this.#redirects,
      goaways: this.#goaways,
      failures: this.#failures,
      ended: this.#ended,
    };
  }

  #connectMore(): void {
    while (this.#queue.length > 0 && this.#connecting.size < this.#options.connectingMax) {
      this.#open(this.#queue.shift()!);
    }
  }

  #open(device: Device): void {
    const address = `127.0.${this.#options.network}.${1 + (this.#opened++ % ADDRESSES)}`;
    const connection = this.#transport.connect('127.0.0.1', device.target.port, address);
    if (connection === undefined) return this.#retry(device);
    this.#connecting.add(device);
    this.#bySlot[slotOf(connection)] = device;
    device.connection = connection;
    device.sinceMs = performance.now();
    device.rest = '';
  }

  #request(connection: Connection): void {
    const device = this.#bySlot[slotOf(connection)];
    if (device === undefined) return;
    const cursor = device.newestId === '' ? '' : `Last-Event-ID: ${device.newestId}\r\n`;
    const head = `GET ${device.target.path} HTTP/1.1\r\nHost: bench\r\n${cursor}`;
    this.#transport.write(connection, Buffer.from(`${head}Connection: close\r\n\r\n`));
  }

  #onBytes(connection: Connection, text: string): void {
    const device = this.#bySlot[slotOf(connection)];
    if (device === undefined) return;
    device.rest += text;
    if (!device.isConnected && !this.#readHead(device, connection)) return;
    if (device.rest.endsWith(HEARTBEAT)) device.rest = device.rest.slice(0, -HEARTBEAT.length);
    const end = device.rest.lastIndexOf('\n\n');
    if (end < 0) return;
    const events = device.rest.slice(0, end).split('\n\n');
    device.rest = device.rest.slice(end + 2);
    for (const event of events) this.#readEvent(device, event);
  }

  /** Returns whether the device is connected. A rejected request ends with `#onClose`. */
  #readHead(device: Device, connection: Connection): boolean {
    const end = device.rest.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const next = redirectOf(device.rest);
    if (next !== undefined) {
      this.#redirects++;
      this.#release(device, connection);
      this.#transport.end(connection);
      device.target = next;
      this.#open(device);
      return false;
    }
    if (!device.rest.startsWith('HTTP/1.1 200')) return false;
    this.#connecting.delete(device);
    device.isConnected = true;
    device.failures = 0;
    device.rest = device.rest.slice(end + 4);
    this.#connected++;
    this.#connectMore();
    return true;
  }

  #readEvent(device: Device, event: string): void {
    const id = /^id: (.*)$/m.exec(event)?.[1];
    const name = /^event: (.*)$/m.exec(event)?.[1];
    if (name === 'goaway') return this.#onGoaway(device, event);
    if (id === undefined) return;
    if (name === undefined) {
      if (device.newestId === '' || isNewer(id, device.newestId)) device.received++;
      else this.#doubled++;
    }
    device.newestId = id;
  }

  /** The edge closes the connection after it. */
  #onGoaway(device: Device, event: string): void {
    this.#goaways++;
    device.isLeaving = true;
    const url = /"url":"([^"]*)"/.exec(event)?.[1];
    this.#later(device, url === undefined ? device.entry : targetOf(url), retryMsOf(event));
  }

  #later(device: Device, target: Target, ms: number): void {
    device.target = target;
    setTimeout(() => {
      const { connection } = device;
      if (connection !== undefined) {
        this.#release(device, connection);
        this.#transport.end(connection);
      }
      this.#queue.push(device);
      this.#connectMore();
    }, ms);
  }

  #retry(device: Device): void {
    this.#failures++;
    device.failures++;
    this.#later(device, device.entry, backoffMs(device.failures, BACKOFF_MS_MAX));
  }

  /** Bytes and the end of the connection no longer matter. */
  #release(device: Device, connection: Connection): void {
    this.#bySlot[slotOf(connection)] = undefined;
    this.#connecting.delete(device);
    if (device.isConnected) this.#connected--;
    device.isConnected = device.isLeaving = false;
    device.connection = undefined;
  }

  #onClose(connection: Connection): void {
    const device = this.#bySlot[slotOf(connection)];
    if (device?.connection !== connection) return;
    const { isConnected, isLeaving } = device;
    this.#release(device, connection);
    if (!isLeaving) {
      if (isConnected) this.#ended++;
      this.#retry(device);
    }
    this.#connectMore();
  }

  /** Gives up connects that are not answered. */
  #sweep(): void {
    const since = performance.now() - ANSWER_MS_MAX;
    for (const device of this.#connecting) {
      if (device.sinceMs > since) return;
      const connection = device.connection!;
      this.#release(device, connection);
      this.#transport.destroy(connection);
      this.#retry(device);
    }
  }
}

function retryMsOf(event: string): number {
  return Number(/^retry: (\d+)$/m.exec(event)?.[1] ?? 0);
}

/** Ids are `<ms>-<n>`. */
function isNewer(id: string, other: string): boolean {
  const [ms, n] = id.split('-').map(Number) as [number, number];
  const [otherMs, otherN] = other.split('-').map(Number) as [number, number];
  return ms > otherMs || (ms === otherMs && n > otherN);
}

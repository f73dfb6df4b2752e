/**
 * One process of a `Fleet` (fleet.ts): many connections, with a count of server-sent events for
 * each and the times of the first and the last event.
 */
import { openTransport } from '../../../common/transport/open-transport.js';
import { type Connection, slotOf, type Transport } from '../../../common/transport/transport.js';
import { nowUs } from '../clock.js';
import { redirectOf, type Target } from './redirect.js';
import { DEVICE_PROTOCOLS, type DeviceProtocol } from './requests.js';

export type ToFleet =
  /**
   * Connects one device per path; redirects are followed. Answered with `Connected` when each has
   * succeeded or failed.
   */
  | {
      readonly type: 'connect';
      readonly port: number;
      /** Third number of their source addresses, 127.0.x.y. */
      readonly network: number;
      readonly paths: readonly string[];
      readonly protocol: DeviceProtocol;
    }
  /** Resets the counters. Answered at once. */
  | { readonly type: 'expect'; readonly events: number }
  /** Answered with `Arrived` when the expected number of events has been received. */
  | { readonly type: 'arrived' }
  /** Answered at once with `Counts`, since the last `expect` or the start. */
  | { readonly type: 'count' }
  /** Closes all connections. Answered when they are closed. */
  | { readonly type: 'close' };

export interface Connected {
  readonly failed: number;
  readonly fromUs: number;
  readonly untilUs: number;
}

/** Times of `nowUs`. */
export interface Arrived {
  readonly firstUs: number;
  readonly lastUs: number;
}

export interface Counts {
  readonly connections: number;
  readonly events: number;
  /** Connections that received no event. */
  readonly without: number;
  /** Connections that received more than one event. */
  readonly twice: number;
}

const CONNECTIONS_MAX = 19_500;
/** Below the backlog of a busy server: none of these is dropped. */
const CONNECTING_MAX = 512;
/** Finding a free port takes the kernel longer the fewer ports an address has left. */
const ADDRESSES = 16;
const LF = 0x0a;
/** Start of `data:`; no other line of an event, and no size of a chunk, starts with it. */
const DATA = Buffer.from('data');
/** The same after a line break. */
const NEXT_DATA = Buffer.from('\ndata');

type ConnectJob = Extract<ToFleet, { type: 'connect' }>;

const isAnswered = new Uint8Array(CONNECTIONS_MAX);
const lastByte = new Uint8Array(CONNECTIONS_MAX);
const events = new Uint32Array(CONNECTIONS_MAX);
/** By connection, while the connect request is not answered. */
const pending = new Map<Connection, Target>();
const bySlot: Connection[] = [];
let opened = 0;
let openCount = 0;
let received = 0;
let expected = Number.POSITIVE_INFINITY;
let firstUs = 0;
let lastUs = 0;
let isArrivedRequested = false;
let job: ConnectJob | undefined;
/** One protocol for all connections. */
let protocol: (typeof DEVICE_PROTOCOLS)[DeviceProtocol] = DEVICE_PROTOCOLS.sse;
let nextPath = 0;
let failed = 0;
let fromUs = 0;
let isClosing = false;

const { transport }: { transport: Transport } = openTransport(
  undefined,
  {
    onOpen(connection) {
      const { path } = pending.get(connection)!;
      transport.write(connection, Buffer.from(protocol.request(path), 'latin1'));
    },
    onBytes(connection, bytes) {
      const slot = slotOf(connection);
      if (isAnswered[slot] === 1) return readEvents(connection, bytes);
      pending.delete(connection);
      if (bytes.includes(protocol.accepted)) {
        isAnswered[slot] = 1;
        lastByte[slot] = bytes[bytes.length - 1]!;
        openCount++;
      } else {
        const next = redirectOf(bytes.toString('latin1'));
        if (next === undefined) failed++;
        else open(next);
        transport.destroy(connection);
      }
      connectMore();
    },
    onEnd: (connection) => transport.end(connection),
    onClose(connection) {
      const slot = slotOf(connection);
      if (isAnswered[slot] === 1) openCount--;
      else if (pending.delete(connection)) failed++;
      isAnswered[slot] = lastByte[slot] = events[slot] = 0;
      connectMore();
      if (isClosing && openCount === 0) {
        isClosing = false;
        process.send!(true);
      }
    },
    onOverLimit: () => {},
    onTimer: () => {},
  },
  { connectionsMax: CONNECTIONS_MAX, sendBufferBytesMax: 64 * 1024 },
);

process.on('message', (message: ToFleet) => {
  if (message.type === 'connect') {
    job = message;
    protocol = DEVICE_PROTOCOLS[message.protocol];
    nextPath = failed = 0;
    fromUs = nowUs();
    connectMore();
  } else if (message.type === 'expect') {
    events.fill(0);
    received = 0;
    expected = message.events;
    process.send!(true);
  } else if (message.type === 'arrived') {
    isArrivedRequested = true;
    answerArrived();
  } else if (message.type === 'count') {
    process.send!(counts());
  } else {
    isClosing = openCount > 0;
    if (!isClosing) process.send!(true);
    for (const [slot, answered] of isAnswered.entries()) if (answered) transport.end(bySlot[slot]!);
  }
});
process.on('disconnect', () => process.exit());

function connectMore(): void {
  if (job === undefined) return;
  while (nextPath < job.paths.length && pending.size < CONNECTING_MAX) {
    open({ port: job.port, path: job.paths[nextPath++]! });
  }
  if (nextPath < job.paths.length || pending.size > 0) return;
  job = undefined;
  process.send!({ failed, fromUs, untilUs: nowUs() } satisfies Connected);
}

function open(target: Target): void {
  const address = `127.0.${job!.network}.${1 + (opened++ % ADDRESSES)}`;
  const connection = transport.connect('127.0.0.1', target.port, address);
  if (connection === undefined) {
    failed++;
  } else {
    pending.set(connection, target);
    bySlot[slotOf(connection)] = connection;
  }
}

/** Counts events, or answers heartbeats if the protocol has any. */
function readEvents(connection: Connection, bytes: Buffer): void {
  const { heartbeat, answer } = protocol;
  if (heartbeat === undefined) countEvents(slotOf(connection), bytes);
  else if (bytes.includes(heartbeat)) transport.write(connection, answer);
}

function countEvents(slot: number, bytes: Buffer): void {
  let found = 0;
  if (lastByte[slot] === LF && bytes.subarray(0, DATA.length).equals(DATA)) found++;
  for (let at = bytes.indexOf(NEXT_DATA); at >= 0; at = bytes.indexOf(NEXT_DATA, at + 2)) found++;
  lastByte[slot] = bytes[bytes.length - 1]!;
  if (found === 0) return;
  if (received === 0) firstUs = nowUs();
  events[slot] = events[slot]! + found;
  received += found;
  if (received < expected) return;
  lastUs = nowUs();
  answerArrived();
}

function answerArrived(): void {
  if (!isArrivedRequested || received < expected) return;
  isArrivedRequested = false;
  process.send!({ firstUs, lastUs } satisfies Arrived);
}

function counts(): Counts {
  let without = 0;
  let twice = 0;
  for (const [slot, answered] of isAnswered.entries()) {
    if (answered === 1 && events[slot] === 0) without++;
    if (events[slot]! > 1) twice++;
  }
  return { connections: openCount, events: received, without, twice };
}

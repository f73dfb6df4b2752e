/**
 * Devices for benches: one process that holds many connections, counts the events that each gets of
 * server-sent events, and compares the clock with them. `Fleet` (fleet.ts) drives it.
 */
import { openTransport } from '../../common/transport/open-transport.js';
import { type Connection, slotOf, type Transport } from '../../common/transport/transport.js';
import { GREETINGS, type GreetingName } from '../memory/requests.js';
import { nowUs } from '../push/payload.js';

export type ToDevices =
  /** Connects one device per path. Answered with `Connected` when all are answered, or failed. */
  | {
      readonly type: 'connect';
      readonly port: number;
      /** The third number of 127.0.x.y, where they connect from. */
      readonly network: number;
      readonly paths: readonly string[];
      readonly protocol: GreetingName;
    }
  /** Forgets what came so far. Answered at once. */
  | { readonly type: 'expect'; readonly events: number }
  /** Answered with `Arrived` when so many events have come as were expected. */
  | { readonly type: 'arrived' }
  /** Answered at once, with `Counts` since the last `expect` or from the start. */
  | { readonly type: 'count' }
  /** Closes all. Answered when they are gone. */
  | { readonly type: 'close' };

export interface Connected {
  readonly failed: number;
  readonly fromUs: number;
  readonly untilUs: number;
}

/** On the clock of `nowUs`. */
export interface Arrived {
  readonly firstUs: number;
  readonly lastUs: number;
}

export interface Counts {
  readonly connections: number;
  readonly events: number;
  /** How many connections got none, and how many more than one. */
  readonly without: number;
  readonly twice: number;
}

const CONNECTIONS_MAX = 19_500;
/** What a busy server can have waiting without turning anybody away. */
const CONNECTING_MAX = 512;
/** Finding a free port takes the kernel the longer the fewer an address has left. */
const ADDRESSES = 16;
const LF = 0x0a;
/** The first character of `data:`; no other line of our events begins with it. */
const D = 0x64;

type Job = Extract<ToDevices, { type: 'connect' }>;

const isAnswered = new Uint8Array(CONNECTIONS_MAX);
const lastByte = new Uint8Array(CONNECTIONS_MAX);
const events = new Uint32Array(CONNECTIONS_MAX);
const requests = new Map<Connection, string>();
let held = 0;
let arrived = 0;
let expected = Number.POSITIVE_INFINITY;
let firstUs = 0;
let lastUs = 0;
let isAsked = false;
let job: Job | undefined;
/** Of all that are connected. */
let greeting: (typeof GREETINGS)[GreetingName] = GREETINGS.sse;
let nextPath = 0;
let failed = 0;
let fromUs = 0;
let isClosing = false;

const { transport }: { transport: Transport } = openTransport(
  undefined,
  {
    onOpen(connection) {
      const path = requests.get(connection)!;
      transport.write(connection, Buffer.from(greeting.request(path), 'latin1'));
    },
    onBytes(connection, bytes) {
      const slot = slotOf(connection);
      if (isAnswered[slot] === 1) return hear(connection, bytes);
      requests.delete(connection);
      if (bytes.includes(greeting.accepted)) {
        isAnswered[slot] = 1;
        lastByte[slot] = bytes[bytes.length - 1]!;
        held++;
      } else {
        failed++;
        transport.destroy(connection);
      }
      connectMore();
    },
    onEnd: (connection) => transport.end(connection),
    onClose(connection) {
      const slot = slotOf(connection);
      if (isAnswered[slot] === 1) held--;
      else if (requests.delete(connection)) failed++;
      isAnswered[slot] = lastByte[slot] = events[slot] = 0;
      connectMore();
      if (isClosing && held === 0) {
        isClosing = false;
        process.send!(true);
      }
    },
    onOverLimit: () => {},
    onTimer: () => {},
  },
  { connectionsMax: CONNECTIONS_MAX, sendBufferBytesMax: 64 * 1024 },
);

process.on('message', (message: ToDevices) => {
  if (message.type === 'connect') {
    job = message;
    greeting = GREETINGS[message.protocol];
    nextPath = failed = 0;
    fromUs = nowUs();
    connectMore();
  } else if (message.type === 'expect') {
    events.fill(0);
    arrived = 0;
    expected = message.events;
    process.send!(true);
  } else if (message.type === 'arrived') {
    isAsked = true;
    sayArrived();
  } else if (message.type === 'count') {
    process.send!(counts());
  } else {
    isClosing = held > 0;
    if (!isClosing) process.send!(true);
    for (const [slot, answered] of isAnswered.entries()) if (answered) transport.end(open[slot]!);
  }
});
process.on('disconnect', () => process.exit());

/** By slot. */
const open: Connection[] = [];

function connectMore(): void {
  if (job === undefined) return;
  while (nextPath < job.paths.length && requests.size < CONNECTING_MAX) {
    const address = `127.0.${job.network}.${1 + (nextPath % ADDRESSES)}`;
    const connection = transport.connect('127.0.0.1', job.port, address);
    const path = job.paths[nextPath++]!;
    if (connection === undefined) {
      failed++;
    } else {
      requests.set(connection, path);
      open[slotOf(connection)] = connection;
    }
  }
  if (nextPath < job.paths.length || requests.size > 0) return;
  job = undefined;
  process.send!({ failed, fromUs, untilUs: nowUs() } satisfies Connected);
}

function hear(connection: Connection, bytes: Buffer): void {
  const { heartbeat, answer } = greeting;
  if (heartbeat === undefined) count(slotOf(connection), bytes);
  else if (bytes.includes(heartbeat)) transport.write(connection, answer);
}

function count(slot: number, bytes: Buffer): void {
  let found = 0;
  if (lastByte[slot] === LF && bytes[0] === D) found++;
  for (let at = bytes.indexOf('\nd'); at >= 0; at = bytes.indexOf('\nd', at + 2)) found++;
  lastByte[slot] = bytes[bytes.length - 1]!;
  if (found === 0) return;
  if (arrived === 0) firstUs = nowUs();
  events[slot] = events[slot]! + found;
  arrived += found;
  if (arrived < expected) return;
  lastUs = nowUs();
  sayArrived();
}

function sayArrived(): void {
  if (!isAsked || arrived < expected) return;
  isAsked = false;
  process.send!({ firstUs, lastUs } satisfies Arrived);
}

function counts(): Counts {
  let without = 0;
  let twice = 0;
  for (const [slot, answered] of isAnswered.entries()) {
    if (answered === 1 && events[slot] === 0) without++;
    if (events[slot]! > 1) twice++;
  }
  return { connections: held, events: arrived, without, twice };
}

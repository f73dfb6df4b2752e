/**
 * Devices of the storm bench, in a process of their own: each remembers the newest id that it got,
 * so that all of them can lose their connections and come back at once. Whoever is rejected comes
 * again when it is told to.
 */
import { openTransport } from '../../common/transport/open-transport.js';
import { type Connection, slotOf, type Transport } from '../../common/transport/transport.js';
import { nowUs } from '../push/payload.js';
import { stepBack } from '../support/own-session.js';

/** Each is answered when it is done. */
export type ToStorm =
  | {
      readonly type: 'connect';
      /** The third number of 127.0.x.y, where they connect from. */
      readonly network: number;
      readonly devices: readonly StormDevice[];
    }
  /** Answered when each device has got so many events in all. */
  | { readonly type: 'arrived'; readonly events: number }
  /** Resets all connections; answered when none is left. */
  | { readonly type: 'lose' }
  /** Everybody comes back at once, and these come for the first time; answered with `Stormed`. */
  | { readonly type: 'storm'; readonly newcomers: readonly StormDevice[] }
  | { readonly type: 'count' };

export interface StormDevice {
  readonly clientId: string;
  readonly port: number;
}

export interface Stormed {
  /** From the beginning of the storm to the answer, in ms, of each. */
  readonly resumedMs: readonly number[];
  readonly newMs: readonly number[];
  /** How often somebody was told to come again, or was not heard at all. */
  readonly rejections: number;
}

export interface StormCounts {
  /** Devices that got none, or more than one, of the pushes that were sent while they were away. */
  readonly without: number;
  readonly twice: number;
}

interface Device extends StormDevice {
  readonly isNew: boolean;
  connection: Connection | undefined;
  isAnswered: boolean;
  answeredMs: number;
  newest: string;
  /** What came of the event that is not complete. */
  rest: string;
  events: number;
  eventsBefore: number;
}

const CONNECTIONS_MAX = 19_500;
const GENTLE_AT_ONCE = 256;
const ADDRESSES = 64;
/** Whoever is cut off unheard tries again after this, and up to as long more. */
const AGAIN_MS = 500;

stepBack();

const devices: Device[] = [];
/** By slot. */
const bySlot: Device[] = [];
let network = 0;
let connecting = 0;
let rejections = 0;
let startUs = nowUs();
let isLosing = false;
let queue: Device[] = [];
let atOnce = GENTLE_AT_ONCE;
let check: (() => void) | undefined;

const { transport }: { transport: Transport } = openTransport(
  undefined,
  {
    onOpen(connection) {
      const { clientId, newest } = bySlot[slotOf(connection)]!;
      const cursor = newest === '' ? '' : `Last-Event-ID: ${newest}\r\n`;
      const head = `GET /connect?clientId=${clientId} HTTP/1.1\r\nHost: bench\r\n${cursor}\r\n`;
      transport.write(connection, Buffer.from(head));
    },
    onBytes: (connection, bytes) => read(bySlot[slotOf(connection)]!, bytes),
    onEnd: (connection) => transport.end(connection),
    onClose(connection) {
      const device = bySlot[slotOf(connection)]!;
      device.connection = undefined;
      if (!device.isAnswered) connecting--;
      device.isAnswered = false;
      if (!isLosing) comeAgain(device, AGAIN_MS);
      connectMore();
      check?.();
    },
    onOverLimit: () => {},
    onTimer: () => {},
  },
  { connectionsMax: CONNECTIONS_MAX, sendBufferBytesMax: 64 * 1024 },
);

process.on('message', (message: ToStorm) => void answer(message));
process.on('disconnect', () => process.exit());

async function answer(message: ToStorm): Promise<void> {
  switch (message.type) {
    case 'connect':
      network = message.network;
      add(message.devices, false);
      await until(() => devices.every(({ isAnswered }) => isAnswered));
      process.send!(true);
      break;
    case 'arrived':
      await until(() => devices.every(({ events }) => events >= message.events));
      process.send!(true);
      break;
    case 'lose':
      isLosing = true;
      for (const { connection } of devices) {
        if (connection !== undefined) transport.destroy(connection);
      }
      await until(() => devices.every(({ connection }) => connection === undefined));
      isLosing = false;
      process.send!(true);
      break;
    case 'storm':
      process.send!(await storm(message.newcomers));
      break;
    case 'count':
      process.send!(counts());
  }
}

async function storm(newcomers: readonly StormDevice[]): Promise<Stormed> {
  startUs = nowUs();
  atOnce = CONNECTIONS_MAX;
  rejections = 0;
  for (const device of devices) device.eventsBefore = device.events;
  queue = [...devices];
  add(newcomers, true);
  await until(() => devices.every(({ isAnswered }) => isAnswered));
  const of = (isNew: boolean) =>
    devices.filter((device) => device.isNew === isNew).map(({ answeredMs }) => answeredMs);
  return { resumedMs: of(false), newMs: of(true), rejections };
}

function add(added: readonly StormDevice[], isNew: boolean): void {
  for (const device of added) {
    const state = { connection: undefined, isAnswered: false, answeredMs: 0 };
    const seen = { newest: '', rest: '', events: 0, eventsBefore: 0 };
    const all: Device = { ...device, isNew, ...state, ...seen };
    devices.push(all);
    queue.push(all);
  }
  connectMore();
}

function connectMore(): void {
  while (queue.length > 0 && connecting < atOnce) {
    const device = queue.pop()!;
    const host = 1 + (queue.length % ADDRESSES);
    const connection = transport.connect('127.0.0.1', device.port, `127.0.${network}.${host}`);
    if (connection === undefined) return comeAgain(device, AGAIN_MS);
    device.connection = connection;
    device.rest = '';
    bySlot[slotOf(connection)] = device;
    connecting++;
  }
}

function comeAgain(device: Device, afterMs: number): void {
  rejections++;
  setTimeout(
    () => {
      queue.push(device);
      connectMore();
    },
    afterMs * (1 + Math.random()),
  );
}

function read(device: Device, bytes: Buffer): void {
  let text = device.rest + bytes.toString('latin1');
  if (!device.isAnswered) {
    const end = text.indexOf('\r\n\r\n');
    if (end < 0) {
      device.rest = text;
      return;
    }
    // What rejects ends the connection, and then it is tried again.
    if (!text.startsWith('HTTP/1.1 200')) return;
    device.isAnswered = true;
    device.answeredMs = (nowUs() - startUs) / 1e3;
    connecting--;
    text = text.slice(end + 4);
    connectMore();
  }
  const end = text.lastIndexOf('\n\n');
  device.rest = text.slice(end < 0 ? 0 : end + 2);
  for (const block of end < 0 ? [] : text.slice(0, end).split('\n\n')) {
    const id = /^id: (.*)$/m.exec(block)?.[1];
    if (id === undefined) continue;
    device.newest = id;
    device.events++;
  }
  check?.();
}

/** Of one push that was sent to each device while it was away. */
function counts(): StormCounts {
  const got = devices.filter(({ isNew }) => !isNew).map((each) => each.events - each.eventsBefore);
  return {
    without: got.filter((events) => events === 0).length,
    twice: got.filter((events) => events > 1).length,
  };
}

/** Looked at when something has come, at most some times a second. */
function until(isSo: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    let isDue = false;
    check = () => {
      if (isDue) return;
      isDue = true;
      setTimeout(() => {
        isDue = false;
        if (check === undefined || !isSo()) return;
        check = undefined;
        resolve();
      }, 20);
    };
    check();
  });
}

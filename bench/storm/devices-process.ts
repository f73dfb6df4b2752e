/**
 * Process of the storm bench with half of its devices. Each device remembers its newest message id,
 * so that all of them can lose their connections and resume at once. A rejected device retries.
 */
import { openTransport } from '../../common/transport/open-transport.js';
import { type Connection, slotOf, type Transport } from '../../common/transport/transport.js';
import { nowUs } from '../support/clock.js';
import { lowerPriority } from '../support/devices/low-priority.js';

/** Each request is answered when it is done. */
export type ToStorm =
  | {
      readonly type: 'connect';
      /** Third number of the devices' source addresses, 127.0.x.y. */
      readonly network: number;
      readonly devices: readonly StormDevice[];
    }
  /** Answered when each device has received this number of events in total. */
  | { readonly type: 'arrived'; readonly events: number }
  /** Resets all connections; answered when none is left. */
  | { readonly type: 'lose' }
  /** All devices reconnect at once, together with new ones; answered with `StormResult`. */
  | { readonly type: 'reconnect'; readonly newDevices: readonly StormDevice[] }
  /** Answered with `StormCounts`. */
  | { readonly type: 'count' };

export interface StormDevice {
  readonly clientId: string;
  readonly port: number;
}

export interface StormResult {
  /** From the start of the storm to the answer, in ms, of each device. */
  readonly resumedMs: readonly number[];
  readonly newMs: readonly number[];
  /** Connect requests that were rejected or dropped. */
  readonly rejections: number;
}

/** Counts of the push that was sent to each device while it was disconnected. */
export interface StormCounts {
  /** Devices that did not receive it. */
  readonly without: number;
  /** Devices that received more than one. */
  readonly twice: number;
}

interface Device extends StormDevice {
  readonly isNew: boolean;
  connection: Connection | undefined;
  isAnswered: boolean;
  answeredMs: number;
  newestId: string;
  /** Text of the event that is not complete yet. */
  rest: string;
  events: number;
  /** Value of `events` at the start of the storm. */
  eventsBefore: number;
}

const CONNECTIONS_MAX = 19_500;
/** Parallel connect requests before the storm. */
const CONNECTING_MAX = 256;
const ADDRESSES = 64;
/** A device retries after this delay, plus a random part of up to as much again. */
const RETRY_MS = 500;

lowerPriority();

const devices: Device[] = [];
const bySlot: Device[] = [];
let network = 0;
let connecting = 0;
let rejections = 0;
let startUs = nowUs();
let isLosing = false;
let queue: Device[] = [];
let connectingMax = CONNECTING_MAX;
let check: (() => void) | undefined;

const { transport }: { transport: Transport } = openTransport(
  undefined,
  {
    onOpen(connection) {
      const { clientId, newestId } = bySlot[slotOf(connection)]!;
      const cursor = newestId === '' ? '' : `Last-Event-ID: ${newestId}\r\n`;
      const head = `GET /connect?clientId=${clientId} HTTP/1.1\r\nHost: bench\r\n${cursor}\r\n`;
      transport.write(connection, Buffer.from(head));
    },
    onBytes: (connection, bytes) => onBytes(bySlot[slotOf(connection)]!, bytes),
    onEnd: (connection) => transport.end(connection),
    onClose(connection) {
      const device = bySlot[slotOf(connection)]!;
      device.connection = undefined;
      if (!device.isAnswered) connecting--;
      device.isAnswered = false;
      if (!isLosing) retry(device);
      connectMore();
      check?.();
    },
    onOverLimit: () => {},
    onTimer: () => {},
  },
  { connectionsMax: CONNECTIONS_MAX, sendBufferBytesMax: 64 * 1024 },
);

process.on('message', async (message: ToStorm) => {
  process.send!((await answer(message)) ?? true);
});
process.on('disconnect', () => process.exit());

async function answer(message: ToStorm): Promise<StormResult | StormCounts | undefined> {
  switch (message.type) {
    case 'connect':
      network = message.network;
      add(message.devices, false);
      await until(() => devices.every(({ isAnswered }) => isAnswered));
      return undefined;
    case 'arrived':
      await until(() => devices.every(({ events }) => events >= message.events));
      return undefined;
    case 'lose':
      isLosing = true;
      for (const { connection } of devices) {
        if (connection !== undefined) transport.destroy(connection);
      }
      await until(() => devices.every(({ connection }) => connection === undefined));
      isLosing = false;
      return undefined;
    case 'reconnect':
      return reconnectAll(message.newDevices);
    case 'count':
      return counts();
  }
}

async function reconnectAll(newDevices: readonly StormDevice[]): Promise<StormResult> {
  startUs = nowUs();
  connectingMax = CONNECTIONS_MAX;
  rejections = 0;
  for (const device of devices) device.eventsBefore = device.events;
  queue = [...devices];
  add(newDevices, true);
  await until(() => devices.every(({ isAnswered }) => isAnswered));
  const answeredMs = (isNew: boolean) =>
    devices.filter((device) => device.isNew === isNew).map((device) => device.answeredMs);
  return { resumedMs: answeredMs(false), newMs: answeredMs(true), rejections };
}

function add(added: readonly StormDevice[], isNew: boolean): void {
  for (const { clientId, port } of added) {
    const device: Device = {
      clientId,
      port,
      isNew,
      connection: undefined,
      isAnswered: false,
      answeredMs: 0,
      newestId: '',
      rest: '',
      events: 0,
      eventsBefore: 0,
    };
    devices.push(device);
    queue.push(device);
  }
  connectMore();
}

function connectMore(): void {
  while (queue.length > 0 && connecting < connectingMax) {
    const device = queue.pop()!;
    const host = 1 + (queue.length % ADDRESSES);
    const connection = transport.connect('127.0.0.1', device.port, `127.0.${network}.${host}`);
    if (connection === undefined) return retry(device);
    device.connection = connection;
    device.rest = '';
    bySlot[slotOf(connection)] = device;
    connecting++;
  }
}

function retry(device: Device): void {
  rejections++;
  setTimeout(
    () => {
      queue.push(device);
      connectMore();
    },
    RETRY_MS * (1 + Math.random()),
  );
}

function onBytes(device: Device, bytes: Buffer): void {
  let text = device.rest + bytes.toString('latin1');
  if (!device.isAnswered) {
    const end = text.indexOf('\r\n\r\n');
    if (end < 0) {
      device.rest = text;
      return;
    }
    // The edge closes a rejected connection, and `onClose` retries.
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
    device.newestId = id;
    device.events++;
  }
  check?.();
}

function counts(): StormCounts {
  const received = devices
    .filter(({ isNew }) => !isNew)
    .map(({ events, eventsBefore }) => events - eventsBefore);
  return {
    without: received.filter((events) => events === 0).length,
    twice: received.filter((events) => events > 1).length,
  };
}

/**
 * Resolves when `isDone` returns true. It is called after bytes and closes, every 20 ms at most.
 */
function until(isDone: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    let isDue = false;
    check = () => {
      if (isDue) return;
      isDue = true;
      setTimeout(() => {
        isDue = false;
        if (check === undefined || !isDone()) return;
        check = undefined;
        resolve();
      }, 20);
    };
    check();
  });
}

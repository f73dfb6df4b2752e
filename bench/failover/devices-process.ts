/**
 * Process of the failover bench with some of its devices: SSE clients that are not EventSource. A
 * device that loses its connection, cannot connect or is rejected, or hears nothing for three
 * heartbeats and a second, reconnects after a backoff as the drill's devices: a random part of 100
 * ms, which doubles with each failure up to 2 s.
 */
import { backoffMs } from '../../common/process/backoff.js';
import { openTransport } from '../../common/transport/open-transport.js';
import { type Connection, slotOf, type Transport } from '../../common/transport/transport.js';
import { nowUs } from '../support/clock.js';
import { lowerPriority } from '../support/devices/low-priority.js';

/** How devices find their edge. */
export type Way = 'redirect' | 'lookup' | 'front';

/** Each request is answered when it is done. */
export type ToFailover =
  | {
      readonly type: 'connect';
      readonly way: Way;
      /** URL of the router or its front proxy. */
      readonly url: string;
      readonly clientIds: readonly string[];
      readonly heartbeatMs: number;
    }
  /** An edge fails now; the named clients are connected to it. */
  | { readonly type: 'fault'; readonly clientIds: readonly string[] }
  /** Answered with the number of devices without a connection. */
  | { readonly type: 'missing' }
  /** Answered with `FailoverResult`. */
  | { readonly type: 'result' };

/**
 * Steps of the way back of a device, with the time since the fault when it was last reached, in ms.
 */
export interface Phases {
  /** Its connection has ended. */
  noticedMs: number;
  /** The router has named its edge; not through the front. */
  locatedMs: number;
  /** The edge, or the front, has accepted the connection. */
  reachedMs: number;
}

export interface FailoverResult {
  /** One entry for each device of the edge that failed. */
  readonly phases: readonly Phases[];
  /** Time without a connection since the fault, in ms, of each device of the edge that failed. */
  readonly withoutMs: readonly number[];
  /** Such devices that have none yet. */
  readonly notReturned: number;
  /** Other devices that have lost their connection. */
  readonly othersLost: number;
  /** Connects that failed, were rejected or not answered. */
  readonly failures: number;
  /** By clientId: the numbers of the pushes that it has received, in their order. */
  readonly received: Readonly<Record<string, readonly number[]>>;
}

interface Device {
  readonly clientId: string;
  isAffected: boolean;
  connection: Connection | undefined;
  isAnswered: boolean;
  activeAtMs: number;
  newestId: string;
  /** Text of the answer or event that is not complete yet. */
  rest: string;
  failures: number;
  received: number[];
  /** Since when it has no connection; undefined: it has one, or the fault is still to come. */
  withoutSinceUs: number | undefined;
  withoutMs: number;
  readonly phases: Phases;
}

const CONNECTIONS_MAX = 19_500;
/** Connect requests in progress before the fault. */
const CONNECTING_MAX = 64;
const BACKOFF_MS_MAX = 2_000;
const CONNECT_MS_MAX = 60_000;
/** As the devices of the drill. */
const ANSWER_MS_MAX = 4_000;
const SWEEP_MS = 250;

lowerPriority();

const devices = new Map<string, Device>();
const bySlot: (Device | undefined)[] = [];
let way: Way = 'front';
let entry = new URL('http://127.0.0.1');
let silenceMsMax = 0;
/** Undefined before the fault. */
let failedAtUs: number | undefined;
let failures = 0;
let othersLost = 0;

const { transport }: { transport: Transport } = openTransport(
  undefined,
  {
    onOpen(connection) {
      const device = bySlot[slotOf(connection)]!;
      const target = targets.get(device)!;
      if (way === 'front' || !isEntry(target)) reach(device, 'reachedMs');
      const accept = isEntry(target) && way === 'lookup' ? 'Accept: application/json\r\n' : '';
      const cursor = device.newestId === '' ? '' : `Last-Event-ID: ${device.newestId}\r\n`;
      const head = `GET ${target.pathname}${target.search} HTTP/1.1\r\nHost: ${target.host}\r\n`;
      transport.write(connection, Buffer.from(`${head}${accept}${cursor}\r\n`));
    },
    onBytes: (connection, bytes) => onBytes(bySlot[slotOf(connection)], connection, bytes),
    onEnd: (connection) => transport.end(connection),
    onClose(connection) {
      const device = bySlot[slotOf(connection)];
      bySlot[slotOf(connection)] = undefined;
      if (device?.connection === connection) lost(device);
    },
    onOverLimit: () => {},
    onTimer: () => {},
  },
  { connectionsMax: CONNECTIONS_MAX, sendBufferBytesMax: 64 * 1024 },
);
/** URL of the connect in progress. */
const targets = new Map<Device, URL>();
let rejection = 'none';

process.on('message', async (message: ToFailover) => {
  process.send!((await answer(message)) ?? true);
});
process.on('disconnect', () => process.exit());
setInterval(sweep, SWEEP_MS);

async function answer(message: ToFailover): Promise<FailoverResult | number | undefined> {
  switch (message.type) {
    case 'connect':
      way = message.way;
      entry = new URL(message.url);
      silenceMsMax = 3 * message.heartbeatMs + 1_000;
      return connectAll(message.clientIds);
    case 'fault': {
      failures = 0;
      const atUs = nowUs();
      failedAtUs = atUs;
      for (const clientId of message.clientIds) {
        const device = devices.get(clientId);
        if (device === undefined) continue;
        device.isAffected = true;
        device.withoutSinceUs = atUs;
      }
      return undefined;
    }
    case 'missing':
      return [...devices.values()].filter(isMissing).length;
    case 'result':
      return result();
  }
}

/** A device of the edge that failed is missing until its next connection. */
function isMissing({ isAnswered, withoutSinceUs }: Device): boolean {
  return !isAnswered || withoutSinceUs !== undefined;
}

/** @throws Error when not all are connected in time */
async function connectAll(clientIds: readonly string[]): Promise<undefined> {
  const waiting = [...clientIds];
  const endMs = performance.now() + CONNECT_MS_MAX;
  while (waiting.length > 0 || [...devices.values()].some(({ isAnswered }) => !isAnswered)) {
    const connecting = [...devices.values()].filter(({ isAnswered }) => !isAnswered).length;
    for (const clientId of waiting.splice(0, Math.max(0, CONNECTING_MAX - connecting))) {
      const device: Device = {
        clientId,
        isAffected: false,
        connection: undefined,
        isAnswered: false,
        activeAtMs: 0,
        newestId: '',
        rest: '',
        failures: 0,
        received: [],
        withoutSinceUs: undefined,
        withoutMs: 0,
        phases: { noticedMs: 0, locatedMs: 0, reachedMs: 0 },
      };
      devices.set(clientId, device);
      request(device);
    }
    if (performance.now() > endMs) {
      throw new Error(`not all devices could connect; the last rejection was:\n${rejection}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return undefined;
}

function request(device: Device): void {
  const url = new URL(entry);
  url.pathname = '/connect';
  url.search = `?clientId=${device.clientId}`;
  open(device, url);
}

function open(device: Device, target: URL): void {
  const host = target.hostname === 'localhost' ? '127.0.0.1' : target.hostname;
  const connection = transport.connect(host, Number(target.port), '');
  if (connection === undefined) return retry(device);
  targets.set(device, target);
  bySlot[slotOf(connection)] = device;
  device.connection = connection;
  device.isAnswered = false;
  device.activeAtMs = performance.now();
  device.rest = '';
}

function reach(device: Device, phase: keyof Phases): void {
  if (failedAtUs !== undefined) device.phases[phase] = (nowUs() - failedAtUs) / 1e3;
}

function lost(device: Device): void {
  if (device.isAnswered) reach(device, 'noticedMs');
  if (device.isAnswered && failedAtUs !== undefined) {
    if (!device.isAffected) othersLost++;
    device.withoutSinceUs ??= nowUs();
  }
  device.connection = undefined;
  device.isAnswered = false;
  retry(device);
}

function retry(device: Device): void {
  failures++;
  device.failures++;
  setTimeout(() => request(device), backoffMs(device.failures, BACKOFF_MS_MAX));
}

/** Gives up connections that are silent. */
function sweep(): void {
  const nowMs = performance.now();
  for (const device of devices.values()) {
    const { connection, isAnswered, activeAtMs } = device;
    const max = isAnswered ? silenceMsMax : ANSWER_MS_MAX;
    if (connection === undefined || nowMs - activeAtMs <= max) continue;
    bySlot[slotOf(connection)] = undefined;
    transport.destroy(connection);
    lost(device);
  }
}

function onBytes(device: Device | undefined, connection: Connection, bytes: Buffer): void {
  if (device?.connection !== connection) return;
  device.activeAtMs = performance.now();
  device.rest += bytes.toString('latin1');
  if (!device.isAnswered && !readHead(device, connection)) return;
  const end = device.rest.lastIndexOf('\n\n');
  if (end < 0) return;
  const blocks = device.rest.slice(0, end).split('\n\n');
  device.rest = device.rest.slice(end + 2);
  for (const block of blocks) {
    const id = /^id: (.*)$/m.exec(block)?.[1];
    if (id === undefined) continue;
    device.newestId = id;
    device.received.push(Number(/^data: (\d+)$/m.exec(block)![1]));
  }
}

/** Returns whether the device is connected. A rejected request ends with `onClose`. */
function readHead(device: Device, connection: Connection): boolean {
  const { rest } = device;
  const end = rest.indexOf('\r\n\r\n');
  if (end < 0) return false;
  const target = targets.get(device)!;
  if (way !== 'front' && isEntry(target)) {
    const next = way === 'redirect' ? locationOf(rest) : urlOf(rest.slice(end + 4));
    if (next === undefined) return false;
    reach(device, 'locatedMs');
    bySlot[slotOf(connection)] = undefined;
    transport.end(connection);
    open(device, new URL(next));
    return false;
  }
  if (!rest.startsWith('HTTP/1.1 200')) {
    rejection = rest;
    return false;
  }
  device.isAnswered = true;
  device.failures = 0;
  device.rest = rest.slice(end + 4);
  if (device.withoutSinceUs === undefined) return true;
  device.withoutMs += (nowUs() - device.withoutSinceUs) / 1e3;
  device.withoutSinceUs = undefined;
  return true;
}

function isEntry({ host }: URL): boolean {
  return host === entry.host;
}

function locationOf(head: string): string | undefined {
  return /^location: (.*)\r$/im.exec(head)?.[1];
}

function urlOf(body: string): string | undefined {
  return /"url":"([^"]*)"/.exec(body)?.[1];
}

function result(): FailoverResult {
  const affected = [...devices.values()].filter(({ isAffected }) => isAffected);
  const received = [...devices.values()].map(({ clientId, received: numbers }) => {
    return [clientId, numbers] as const;
  });
  return {
    phases: affected.map(({ phases }) => phases),
    withoutMs: affected.filter((device) => !isMissing(device)).map(({ withoutMs }) => withoutMs),
    notReturned: affected.filter(isMissing).length,
    othersLost,
    failures,
    received: Object.fromEntries(received),
  };
}

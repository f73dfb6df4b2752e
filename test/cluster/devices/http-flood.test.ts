/**
 * Goal: a flood of HTTP on the port of a role costs it bounded memory, and others are served
 * meanwhile. Method: raw sockets, as many as in the floods that were measured, against the ports of
 * a running cluster. The memory is the most that the process has ever had (VmHWM).
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';

/** The goal is 300; on a busy machine a process collects its garbage late. */
const MEMORY_MB_MAX = 400;
/** Requests of others during a flood. */
const OTHERS = 10;

const GET = 'GET /connect?clientId=flood HTTP/1.1\r\nHost: h\r\n\r\n';
const METRICS = 'GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n';
const POST = 'POST /connect HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\n';

let running: RunningCluster;
const sockets: Socket[] = [];

beforeAll(async () => {
  running = await RunningCluster.start({ edges: 1 });
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.resetAndDestroy();
});
afterAll(() => running?.stop());

type OnConnected = (socket: Socket) => void;

/** Sends the same bytes as fast as the peer takes them. */
function repeat(text: string): OnConnected {
  const bytes = Buffer.from(text.repeat(Math.ceil(65_536 / text.length)));
  return (socket) => {
    const write = () => {
      while (socket.writable && socket.write(bytes));
    };
    socket.on('drain', write);
    write();
  };
}

function drip(start: string, text: string, everyMs: number): OnConnected {
  return (socket) => {
    socket.write(start);
    let sent = 0;
    const timer = setInterval(() => socket.write(text[sent++ % text.length]!), everyMs);
    socket.on('close', () => clearInterval(timer));
  };
}

function unread(send: OnConnected): OnConnected {
  return (socket) => {
    socket.pause();
    send(socket);
  };
}

interface Flood {
  readonly name: string;
  readonly connections: number;
  readonly send: OnConnected;
}

const FLOODS: readonly Flood[] = [
  { name: 'pipelined requests', connections: 200, send: repeat(GET) },
  { name: 'silent connections', connections: 5_000, send: () => {} },
  {
    name: 'pipelined requests whose answers are not read',
    connections: 200,
    send: unread(repeat(GET)),
  },
  {
    name: 'large answers that are not read',
    connections: 1_000,
    send: unread((socket) => socket.write(METRICS.repeat(100))),
  },
  {
    name: 'pipelined requests with bodies',
    connections: 200,
    send: repeat(`${POST}Content-Length: 1\r\n\r\n1`),
  },
  {
    name: 'chunks without an end',
    connections: 200,
    send: (socket) => {
      socket.write(`${POST}Transfer-Encoding: chunked\r\n\r\n`);
      repeat('1\r\nx\r\n')(socket);
    },
  },
  {
    name: 'slow bodies',
    connections: 2_000,
    send: drip(`${POST}Content-Length: 60000\r\n\r\n${'x'.repeat(30_000)}`, 'x', 500),
  },
  {
    name: 'heads without an end',
    connections: 1_000,
    send: drip(`GET / HTTP/1.1\r\n${'X-A: b\r\n'.repeat(1_000)}`, 'X-B: c\r\n', 100),
  },
  {
    name: 'huge heads',
    connections: 500,
    send: (socket) => {
      socket.write('GET / HTTP/1.1\r\n');
      repeat('X-A: b\r\n')(socket);
    },
  },
  { name: 'bytes that are no HTTP', connections: 500, send: repeat('x'.repeat(65_536)) },
  { name: 'a byte a second', connections: 2_000, send: drip(GET, GET, 1_000) },
  { name: 'requests without Host', connections: 200, send: repeat('GET / HTTP/1.1\r\n\r\n') },
];

function start({ connections, send }: Flood, port: number): void {
  for (let i = 0; i < connections; i++) {
    const socket = connect({ host: '127.0.0.1', port });
    sockets.push(socket);
    socket.on('error', () => {});
    socket.on('connect', () => {
      socket.resume();
      send(socket);
    });
  }
}

function memoryMbMax(name: string): number {
  const status = readFileSync(`/proc/${running.cluster.pid(name)}/status`, 'latin1');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)![1]) / 1024;
}

/**
 * Others send a request each, on connections of their own. A connection that is closed, or waits in
 * the kernel while thousands of others are accepted, is opened again.
 */
async function untilOthersServed(url: string): Promise<void> {
  for (let i = 0; i < OTHERS; i++) {
    await eventually(async () => (await httpRequest(url)).status < 400);
  }
}

describe.each(FLOODS)('$name', (flood) => {
  test('cost a router bounded memory', async () => {
    start(flood, Number(new URL(running.cluster.routerUrl).port));
    await untilOthersServed(running.connectUrl('other'));
    expect(await running.push.push('other', 'push')).toMatchObject({ verdict: 'STORED' });
    expect(memoryMbMax('router')).toBeLessThan(MEMORY_MB_MAX);
  });
});

describe.each(['control', 'edge-1'])('%s', (name) => {
  test.each(FLOODS.slice(0, 4))('has bounded memory with $name', async (flood) => {
    const url = running.cluster.httpUrl(name);
    start(flood, Number(new URL(url).port));
    await untilOthersServed(`${url}/healthz`);
    expect(memoryMbMax(name)).toBeLessThan(MEMORY_MB_MAX);
  });
});

test('says what it closed, and forgets the flood', async () => {
  const metric = (name: string, labels = {}) =>
    running.metric('router', `longline_router_http_${name}`, labels);
  expect(await metric('connections_closed_total', { reason: 'full' })).toBeGreaterThan(0);
  expect(await metric('connections_closed_total', { reason: 'pipelined' })).toBeGreaterThan(0);
  expect(await metric('unreadable_total', { code: 'HEAD_TOO_LARGE' })).toBeGreaterThan(0);
  await eventually(async () => (await metric('connections')) < OTHERS);
  await eventually(async () => (await metric('unsent_bytes')) === 0);
});

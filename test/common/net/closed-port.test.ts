import type { LookupAddress } from 'node:dns';
import { createServer } from 'node:net';
import { beforeEach, expect, jest, test } from '@jest/globals';
import { eventually } from '../../support/eventually.js';

const { lookup } = await import('node:dns/promises');
const lookUp = jest.fn((host: string) => lookup(host, { all: true }));
jest.unstable_mockModule('node:dns/promises', () => ({ lookup: lookUp }));
const { isPortClosed } = await import('../../../common/net/closed-port.js');

beforeEach(() => {
  lookUp.mockClear();
  accepted = 0;
});

/** Connections that servers of this file have accepted since the test began. */
let accepted = 0;

async function listening(): Promise<{ port: number; close(): Promise<void> }> {
  const server = createServer((socket) => {
    accepted++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return { port, close: () => new Promise((resolve) => server.close(() => resolve())) };
}

test('tells a port without a process from one that accepts, and resets, connections', async () => {
  const { port, close } = await listening();
  expect(await isPortClosed({ host: '127.0.0.1', port })).toBe(false);
  await close();
  expect(await isPortClosed({ host: '127.0.0.1', port })).toBe(true);
});

test('an answer that arrives while the process is busy counts', async () => {
  const { port, close } = await listening();
  await close();
  const isClosed = isPortClosed({ host: '127.0.0.1', port });
  await new Promise((resolve) => setTimeout(resolve, 0));
  const endMs = performance.now() + 600;
  while (performance.now() < endMs);
  expect(await isClosed).toBe(true);
});

test('takes neither an unreachable address nor an unknown name for a closed port', async () => {
  // A broadcast address has no route.
  expect(await isPortClosed({ host: '255.255.255.255', port: 7000 })).toBe(false);
  expect(await isPortClosed({ host: 'name.invalid', port: 7000 })).toBe(false);
});

test('a port is closed only if all of its addresses are', async () => {
  const { port, close } = await listening();
  // `localhost` may also have the address ::1, at which nothing listens.
  expect(await isPortClosed({ host: 'localhost', port })).toBe(false);
  await close();
  expect(await isPortClosed({ host: 'localhost', port })).toBe(true);
});

test('checks of a host share a lookup while that is in progress, and connect to nothing after their time', async () => {
  const { port, close } = await listening();
  let answer: (addresses: LookupAddress[]) => void = () => {};
  const waiting = new Promise<LookupAddress[]>((resolve) => {
    answer = resolve;
  });
  lookUp.mockReturnValueOnce(waiting);
  const checks = Array.from({ length: 5 }, () => isPortClosed({ host: 'edge', port: port + 1 }));
  expect(await Promise.all(checks)).toEqual([false, false, false, false, false]);
  expect(await isPortClosed({ host: 'edge', port })).toBe(false);
  expect(lookUp).toHaveBeenCalledTimes(1);
  answer([{ address: '127.0.0.1', family: 4 }]);
  await waiting;
  expect(await isPortClosed({ host: 'localhost', port })).toBe(false);
  await eventually(() => expect(accepted).toBe(1));
  await isPortClosed({ host: 'edge', port });
  expect(lookUp).toHaveBeenCalledTimes(3);
  await close();
});

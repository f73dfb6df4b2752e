import { createServer } from 'node:net';
import { expect, test } from '@jest/globals';
import { isPortClosed } from '../../../common/net/closed-port.js';

async function listening(): Promise<{ port: number; close(): Promise<void> }> {
  const server = createServer((socket) => socket.destroy());
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

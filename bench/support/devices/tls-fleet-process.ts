/** One process of a `Fleet` over TLS, for idle connections: `connect` and `close` only. */
import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { nowUs } from '../clock.js';
import type { Connected, ToFleet } from './fleet-process.js';
import { DEVICE_PROTOCOLS } from './requests.js';

const CONNECTING_MAX = 64;
const sockets = new Set<TLSSocket>();

process.on('message', async (message: ToFleet) => {
  if (message.type === 'connect') process.send!(await connectAll(message.port, message.paths));
  if (message.type === 'close') {
    await Promise.all([...sockets].map((socket) => once(socket.destroy(), 'close')));
    process.send!(true);
  }
});

async function connectAll(port: number, paths: readonly string[]): Promise<Connected> {
  const fromUs = nowUs();
  const rest = paths.values();
  let failed = 0;
  const worker = async () => {
    for (const path of rest) if (!(await isAccepted(port, path))) failed++;
  };
  await Promise.all(Array.from({ length: CONNECTING_MAX }, worker));
  return { failed, fromUs, untilUs: nowUs() };
}

function isAccepted(port: number, path: string): Promise<boolean> {
  const { request, accepted } = DEVICE_PROTOCOLS.sse;
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  sockets.add(socket);
  socket.on('close', () => sockets.delete(socket));
  return new Promise((resolve) => {
    socket.once('secureConnect', () => socket.write(request(path)));
    socket.once('data', (bytes) => resolve(bytes.includes(accepted)));
    socket.once('error', () => resolve(false));
  });
}

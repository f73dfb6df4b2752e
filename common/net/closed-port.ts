/** Whether a port is closed, which proves that no process listens there. */
import type { LookupAddress } from 'node:dns';
import { lookup } from 'node:dns/promises';
import { connect } from 'node:net';
import type { HostPort } from './host-port.js';

/** A closed port answers in one round trip. */
const TIMEOUT_MS = 500;
/** A name with more addresses is a balancer's. */
const ADDRESSES_MAX = 8;

/**
 * Lookups in progress, by host. While DNS is away, each occupies one of the few threads of Node.js
 * for much longer than a check takes.
 */
const lookups = new Map<string, Promise<readonly LookupAddress[]>>();

/**
 * Resolves with true if the port of every address of the host is closed (ECONNREFUSED), and with
 * false on everything else: an accepted connection, silence, an unreachable network, a name that
 * does not resolve. Never rejects.
 */
export async function isPortClosed({ host, port }: HostPort): Promise<boolean> {
  const timeout = new AbortController();
  const { signal } = timeout;
  const timedOut = new Promise<false>((resolve) => {
    signal.addEventListener('abort', () => resolve(false), { once: true });
  });
  // An answer that has arrived while the event loop was busy comes first.
  const timer = setTimeout(() => setImmediate(() => timeout.abort()), TIMEOUT_MS).unref();
  const isClosed = await Promise.race([areAllClosed(host, port, signal), timedOut]);
  clearTimeout(timer);
  return isClosed;
}

async function areAllClosed(host: string, port: number, signal: AbortSignal): Promise<boolean> {
  try {
    const addresses = await findAddresses(host);
    if (signal.aborted || addresses.length > ADDRESSES_MAX) return false;
    const closed = await Promise.all(
      addresses.map(({ address }) => isAddressClosed(address, port, signal)),
    );
    return closed.length > 0 && closed.every(Boolean);
  } catch {
    return false;
  }
}

function findAddresses(host: string): Promise<readonly LookupAddress[]> {
  let running = lookups.get(host);
  if (running === undefined) {
    running = lookup(host, { all: true }).finally(() => lookups.delete(host));
    lookups.set(host, running);
  }
  return running;
}

function isAddressClosed(host: string, port: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (isClosed: boolean) => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      resolve(isClosed);
    };
    const onAbort = () => end(false);
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('connect', () => end(false));
    // This listener stays: a socket that is destroyed may still report an error.
    socket.on('error', ({ code }: NodeJS.ErrnoException) => end(code === 'ECONNREFUSED'));
  });
}

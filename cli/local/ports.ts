/** Free ports of this machine. A local cluster chooses all of them before it starts a process. */
import { createServer } from 'node:net';

/** Listening address of local processes. Clients that first try ::1 for `localhost` fall back. */
export const LOOPBACK = '127.0.0.1';
export const LOOPBACK_IPV6 = '::1';

/**
 * Below the ephemeral ports of Linux (from 32768) and macOS (from 49152): the port of a killed role
 * is still free when the role is started again.
 */
const FREE_FROM = 12_000;
const FREE_BELOW = 32_000;

/** More ports than one process needs as a rule. */
const STRETCH = 101;
let next = (process.pid * STRETCH) % (FREE_BELOW - FREE_FROM);

/**
 * Returns a free port. The caller binds it a while later, so each process searches a range of its
 * own, from where it found the last one: two processes that search at the same time find different
 * ports.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FREE_FROM + next;
    next = (next + 1) % (FREE_BELOW - FREE_FROM);
    if (!(await isTaken(port))) return port;
  }
}

/** Offset of the cluster bus port of a Redis Cluster node from its client port. */
const CLUSTER_BUS_ABOVE = 10_000;

export async function freeClusterPort(): Promise<number> {
  for (;;) {
    const port = await freePort();
    const bus = port + CLUSTER_BUS_ABOVE;
    if (bus < FREE_BELOW && !(await isTaken(bus))) return port;
  }
}

/** Whether a process listens on `port` at either address of `localhost`. */
export async function isTaken(port: number): Promise<boolean> {
  return (await isTakenAt(LOOPBACK, port)) || (await isTakenAt(LOOPBACK_IPV6, port));
}

function isTakenAt(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(true);
      // On a machine without IPv6, no process listens at ::1.
      else if (host !== LOOPBACK) resolve(false);
      else reject(error);
    });
    probe.listen(port, host, () => probe.close(() => resolve(false)));
  });
}

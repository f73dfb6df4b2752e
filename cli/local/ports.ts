/** Ports of this machine, as a local cluster needs them: known before anything is started. */
import { createServer } from 'node:net';

/** Everything local listens here. Clients that try ::1 first when told `localhost` fall back to it. */
export const LOOPBACK = '127.0.0.1';

/**
 * Below the ranges that Linux (32768) and macOS (49152) take outgoing ports from: a killed role
 * finds its port still free when it is started again.
 */
const FREE_FROM = 12_000;
const FREE_BELOW = 32_000;

/** More than the ports that one process asks for, most of the time. */
const STRETCH = 101;
let next = (process.pid * STRETCH) % (FREE_BELOW - FREE_FROM);

/**
 * A port is used a while after it was found free. So each process looks along a stretch of its own,
 * from where it last found one: two that look at the same time do not find the same.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FREE_FROM + next;
    next = (next + 1) % (FREE_BELOW - FREE_FROM);
    if (!(await isTaken(port))) return port;
  }
}

/** A node of a Redis Cluster also listens this far above its port. */
const CLUSTER_BUS_ABOVE = 10_000;

export async function freeClusterPort(): Promise<number> {
  for (;;) {
    const port = await freePort();
    const bus = port + CLUSTER_BUS_ABOVE;
    if (bus < FREE_BELOW && !(await isTaken(bus))) return port;
  }
}

/** Whether somebody listens on `port` at either address that `localhost` may mean. */
export async function isTaken(port: number): Promise<boolean> {
  return (await isTakenAt(LOOPBACK, port)) || (await isTakenAt('::1', port));
}

function isTakenAt(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(true);
      // A machine without IPv6 has nobody at ::1.
      else if (host !== LOOPBACK) resolve(false);
      else reject(error);
    });
    probe.listen(port, host, () => probe.close(() => resolve(false)));
  });
}

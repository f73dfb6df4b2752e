/** Starts a real Redis for a test. It ends with the test process, even if that is killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { freePort } from '../../../cli/local/ports.js';
import { eventually } from '../eventually.js';

export interface TestRedis {
  readonly url: string;
  readonly port: number;
  isRunning(): boolean;
  /** Kills the server and removes its files. */
  stop(): Promise<void>;
  /** Sends a signal. Resolves when the server has exited, unless it is SIGSTOP or SIGCONT. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Restarts a killed server on the same port. */
  restart(): Promise<void>;
}

export async function startRedis(
  args: readonly string[] = [],
  pickPort = freePort,
): Promise<TestRedis> {
  const port = await pickPort();
  const directory = mkdtempSync(join(tmpdir(), 'longline-redis-'));
  let server = await launch(port, directory, args);
  const isRunning = () => server.exitCode === null && server.signalCode === null;
  const end = async (signal: NodeJS.Signals) => {
    if (!isRunning()) return;
    const exited = once(server, 'exit');
    server.kill(signal);
    await exited;
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    isRunning,
    async kill(signal) {
      if (signal === 'SIGSTOP' || signal === 'SIGCONT') server.kill(signal);
      else await end(signal);
    },
    async restart() {
      server = await launch(port, directory, args);
    },
    async stop() {
      await end('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/**
 * Connects a client whose commands fail at once while the server is down, as those of the roles do.
 */
export async function connectFailingFast(url: string): Promise<Redis> {
  const redis = new Redis(url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => 50,
  });
  redis.on('error', () => {});
  await eventually(() => redis.status === 'ready');
  return redis;
}

async function launch(
  port: number,
  directory: string,
  args: readonly string[],
): Promise<ChildProcess> {
  const settings = ['--port', port, '--save', '', '--appendonly', 'no', '--dir', directory];
  const server = spawn('redis-server', [...settings.map(String), ...args], { stdio: 'ignore' });
  killWithParent(server);
  const probe = new Redis(port, '127.0.0.1', { retryStrategy: () => 10, maxRetriesPerRequest: 0 });
  probe.on('error', () => {});
  await eventually(async () => {
    if (server.exitCode !== null) throw new Error(`redis-server exited with ${server.exitCode}`);
    // A server that requires a password is up as well.
    await probe.ping().catch((error: Error) => {
      if (!/NOAUTH/.test(error.message)) throw error;
    });
  });
  probe.disconnect();
  return server;
}

/**
 * Kills the child when this process ends, however that happens: the kernel then closes the pipe
 * that is the standard input of the guard.
 */
function killWithParent(child: ChildProcess): void {
  const guard = spawn('sh', ['-c', 'cat > /dev/null; kill -9 "$0"', String(child.pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  guard.unref();
  (guard.stdin as Socket).unref();
  // Before the kernel can reuse the pid of the child.
  child.once('exit', () => guard.kill('SIGKILL'));
}

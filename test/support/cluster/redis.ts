/** A real Redis of its own for each test, gone with the test process however that ends. */
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
  /** Ends it and removes its files. */
  stop(): Promise<void>;
  /** Sends a signal; resolves when a fatal one has taken effect. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same port, after it was killed. */
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

async function launch(
  port: number,
  directory: string,
  args: readonly string[],
): Promise<ChildProcess> {
  const settings = ['--port', port, '--save', '', '--appendonly', 'no', '--dir', directory];
  const server = spawn('redis-server', [...settings.map(String), ...args], { stdio: 'ignore' });
  dieWithUs(server);
  const probe = new Redis(port, '127.0.0.1', { retryStrategy: () => 10, maxRetriesPerRequest: 0 });
  probe.on('error', () => {});
  await eventually(async () => {
    if (server.exitCode !== null) throw new Error(`redis-server exited with ${server.exitCode}`);
    // A server that wants a password is up, too.
    await probe.ping().catch((error: Error) => {
      if (!/NOAUTH/.test(error.message)) throw error;
    });
  });
  probe.disconnect();
  return server;
}

/**
 * For the day when the test process is killed: the standard input of this shell, a pipe from us,
 * ends then, and it takes the child along.
 */
function dieWithUs(child: ChildProcess): void {
  const guard = spawn('sh', ['-c', 'cat > /dev/null; kill -9 "$0"', String(child.pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  guard.unref();
  (guard.stdin as Socket).unref();
  // Before the child's id can belong to someone else.
  child.once('exit', () => guard.kill('SIGKILL'));
}

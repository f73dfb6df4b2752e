/**
 * A private redis-server for the local cluster and for tests: on a free port of the loopback,
 * in its own temporary folder, without persistence (what a local cluster stores may die with it).
 *
 * The hard thing is that it never outlives us, not even when we are killed with SIGKILL. So it is
 * started through a shell that first leaves a guard behind: a subshell that waits for the end of
 * our pipe, then kills Redis and removes its folder. The shell itself becomes Redis (`exec`), so
 * the child's pid, signals and exit status are Redis' own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { packageRoot } from '../../common/process/package-root.js';
import { Failure } from '../failure.js';
import { freePort, LOOPBACK } from './ports.js';

export interface LocalRedis {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Resolves when it is gone, for whatever reason. */
  readonly gone: Promise<void>;
  /** Resolves when it is gone and its folder is removed. */
  stop(): Promise<void>;
  /** Resolves when a signal that ends it has ended it; one that does not, never does. */
  kill(signal: NodeJS.Signals): Promise<void>;
}

export interface LocalRedisOptions {
  /** A free one is chosen unless it is given. */
  readonly port?: number;
  /** More arguments for redis-server, such as `['--cluster-enabled', 'yes']`; they win over ours. */
  readonly args?: readonly string[];
  /** Hears it when something takes time, such as an installation. */
  readonly say?: (line: string) => void;
}

/**
 * $1: the folder; the rest: the command. Descriptor 3 is the pipe that only we hold open. The guard
 * keeps standard output open, so the child's `close` event comes after the guard's work.
 */
const GUARDED = `
  exec 3<&0
  ( read -r _ <&3; kill -KILL $$; rm -rf "$1" ) 2>/dev/null &
  shift
  exec "$@" </dev/null 3<&-
`;

/** @throws Failure when there is no usable redis-server, or it does not start */
export async function startRedis(options: LocalRedisOptions = {}): Promise<LocalRedis> {
  await ensureRedis(options.say ?? (() => {}));
  const port = options.port ?? (await freePort());
  const folder = await mkdtemp(join(tmpdir(), 'longline-redis-'));
  const command = ['redis-server', '--port', `${port}`, '--bind', LOOPBACK, '--dir', folder];
  command.push('--save', '', '--appendonly', 'no', ...(options.args ?? []));
  const child = spawn('sh', ['-c', GUARDED, 'sh', folder, ...command], {
    stdio: ['pipe', 'pipe', 'inherit'],
    // Not of the terminal's process group: Ctrl-C must reach us only, Redis is stopped last.
    detached: true,
  });
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await untilReady(child);
  return {
    url: `redis://${LOOPBACK}:${port}`,
    port,
    pid: child.pid!,
    gone,
    kill: (signal) => {
      child.kill(signal);
      return gone;
    },
    // Nothing is worth saving, so this need not be gentle: closing the pipe is how the guard is told.
    stop: () => {
      child.stdin!.destroy();
      return gone;
    },
  };
}

function untilReady(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    const output: string[] = [];
    const lines = createInterface({ input: child.stdout! });
    lines.on('line', (line) => {
      output.push(line);
      if (!line.includes('Ready to accept connections')) return;
      lines.close();
      child.stdout!.resume();
      resolve();
    });
    child.once('close', () =>
      reject(new Failure(`redis-server did not start:\n${output.slice(-5).join('\n')}`)),
    );
  });
}

/** Set-up has the same file and runs before anything is compiled, so it is not TypeScript. */
async function ensureRedis(say: (line: string) => void): Promise<void> {
  const script = pathToFileURL(join(packageRoot, 'scripts/ensure-redis.mjs')).href;
  const installer: { ensureRedis: (say: (line: string) => void) => void } = await import(script);
  try {
    installer.ensureRedis(say);
  } catch (error) {
    throw new Failure((error as Error).message);
  }
}

/**
 * A private redis-server for the local cluster and for tests: on a free port of the loopback, in
 * its own temporary folder, without persistence (a local cluster may lose its data when it stops).
 *
 * Redis must not outlive this process, not even one that is killed with SIGKILL. So it is started
 * through a shell that first starts a guard: a subshell that waits for the end of a pipe from this
 * process, then kills Redis and removes its folder. The shell itself becomes Redis (`exec`), so the
 * child's pid, signals and exit status are those of Redis.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { packageRoot } from '../../common/process/package-root.js';
import { Failure } from '../terminal/failure.js';
import { freePort, LOOPBACK } from './ports.js';

export interface LocalRedis {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Resolves when it has exited, for any reason. */
  readonly exited: Promise<void>;
  /** Resolves when it has exited and its folder is removed. */
  stop(): Promise<void>;
  /** Resolves when the signal has ended the process; never for a signal that does not end it. */
  kill(signal: NodeJS.Signals): Promise<void>;
}

export interface LocalRedisOptions {
  /** A free port by default. */
  readonly port?: number;
  /** Listening address; the loopback by default. */
  readonly host?: string;
  /** A command and its arguments, which becomes Redis (`exec`): nsenter, say. */
  readonly command?: readonly string[];
  /** Arguments that override the defaults, such as `['--cluster-enabled', 'yes']`. */
  readonly args?: readonly string[];
  /** Receives a message before each step that takes long, such as an installation. */
  readonly onProgress?: (line: string) => void;
}

/**
 * $1 is the folder, the rest the command. Descriptor 3 is the pipe whose other end only this
 * process holds. The guard keeps standard output open, so the child's `close` event follows the
 * guard's work.
 */
const GUARDED = `
  exec 3<&0
  ( read -r _ <&3; kill -KILL $$; rm -rf "$1" ) 2>/dev/null &
  shift
  exec "$@" </dev/null 3<&-
`;

/** @throws Failure when there is no usable redis-server, or it does not start */
export async function startRedis(options: LocalRedisOptions = {}): Promise<LocalRedis> {
  await ensureRedis(options.onProgress ?? (() => {}));
  const port = options.port ?? (await freePort());
  const folder = await mkdtemp(join(tmpdir(), 'longline-redis-'));
  const { host = LOOPBACK } = options;
  const command = [...(options.command ?? []), 'redis-server', '--port', `${port}`];
  command.push('--bind', host, '--dir', folder);
  if (host !== LOOPBACK) command.push('--protected-mode', 'no');
  command.push('--save', '', '--appendonly', 'no', ...(options.args ?? []));
  const child = spawn('sh', ['-c', GUARDED, 'sh', folder, ...command], {
    stdio: ['pipe', 'pipe', 'inherit'],
    // Outside the terminal's process group: on Ctrl-C, this process stops Redis last.
    detached: true,
  });
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await untilReady(child);
  return {
    url: `redis://${host}:${port}`,
    port,
    pid: child.pid!,
    exited,
    kill: (signal) => {
      child.kill(signal);
      return exited;
    },
    // There is no data to save: the end of the pipe makes the guard kill Redis.
    stop: () => {
      child.stdin!.destroy();
      return exited;
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

/** The set-up uses the same script before anything is compiled, so it is not TypeScript. */
async function ensureRedis(onProgress: (line: string) => void): Promise<void> {
  const script = pathToFileURL(join(packageRoot, 'scripts/ensure-redis.mjs')).href;
  const installer: { ensureRedis: (onProgress: (line: string) => void) => void } = await import(
    script
  );
  try {
    installer.ensureRedis(onProgress);
  } catch (error) {
    throw new Failure((error as Error).message);
  }
}

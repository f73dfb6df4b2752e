/**
 * Servers that do nothing but hold connections, each in a fresh process: on the native transport,
 * on the portable one, and a loop in C (`bare`). They show what a transport costs without an edge.
 */
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../../common/process/package-root.js';

export const BASELINE_NAMES = ['native', 'net', 'bare'] as const;
export type BaselineName = (typeof BASELINE_NAMES)[number];

export interface BaselineServer {
  readonly pid: number;
  readonly port: number;
  /** Writes one event to every connection. */
  write(): Promise<{ written: number; seconds: number }>;
  stop(): Promise<void>;
}

/**
 * @param opening answer to every request
 * @param event what `write` writes
 * @throws Error when there is no C compiler for `bare`
 */
export async function startBaseline(
  name: BaselineName,
  opening: string,
  event: string,
): Promise<BaselineServer> {
  const script = fileURLToPath(new URL('baseline-process.js', import.meta.url));
  const command = name === 'bare' ? [compileBaseline()] : [process.execPath, script, name];
  const child = spawn(command[0]!, [...command.slice(1), opening, event], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout });
  const nextLine = async () => String((await once(lines, 'line'))[0]);
  const port = Number(await nextLine());
  return {
    pid: child.pid!,
    port,
    async write() {
      const answered = nextLine();
      child.stdin.write('\n');
      const [written, nanoseconds] = (await answered).split(' ').map(Number);
      return { written: written!, seconds: nanoseconds! / 1e9 };
    },
    stop: () => stop(child),
  };
}

async function stop(child: ChildProcessByStdio<Writable, Readable, null>): Promise<void> {
  const exited = once(child, 'exit');
  child.stdin.end();
  await exited;
}

/** Returns the path of the compiled program. */
function compileBaseline(): string {
  const output = join(packageRoot, 'build/baseline-server');
  mkdirSync(join(packageRoot, 'build'), { recursive: true });
  const source = join(packageRoot, 'bench/memory/baseline.c');
  const { status, stderr, error } = spawnSync('cc', ['-O2', source, '-o', output]);
  if (status !== 0) throw new Error(`cannot compile ${source} with cc: ${error ?? stderr}`);
  return output;
}

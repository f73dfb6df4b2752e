/** Starts what holds connections in the benches, each in a fresh process. */
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../../common/process/package-root.js';

export const HOLDER_NAMES = ['native', 'net', 'bare'] as const;
export type HolderName = (typeof HOLDER_NAMES)[number];

export interface Holder {
  readonly pid: number;
  readonly port: number;
  /** Writes one event to every connection. */
  write(): Promise<{ written: number; seconds: number }>;
  stop(): Promise<void>;
}

/**
 * @param opening what every request is answered with
 * @param event what `write` writes
 * @throws when there is no C compiler for the bare holder
 */
export async function startHolder(
  name: HolderName,
  opening: string,
  event: string,
): Promise<Holder> {
  const child =
    name === 'bare'
      ? spawn(buildBareHolder(), [opening, event], { stdio: ['pipe', 'pipe', 'inherit'] })
      : spawn(
          process.execPath,
          [fileURLToPath(new URL('baseline-process.js', import.meta.url)), name, opening, event],
          { stdio: ['pipe', 'pipe', 'inherit'] },
        );
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
  const gone = once(child, 'exit');
  child.stdin.end();
  await gone;
}

function buildBareHolder(): string {
  const output = join(packageRoot, 'build/bare-holder');
  mkdirSync(join(packageRoot, 'build'), { recursive: true });
  const source = join(packageRoot, 'bench/memory/baseline.c');
  const { status, stderr, error } = spawnSync('cc', ['-O2', source, '-o', output]);
  if (status !== 0) throw new Error(`the bare holder needs a C compiler: ${error ?? stderr}`);
  return output;
}

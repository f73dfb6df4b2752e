/** Compiles the C programs of the benches into build/. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, renameSync } from 'node:fs';
import { basename, join } from 'node:path';
import { packageRoot } from '../../../common/process/package-root.js';

/**
 * @param source path below the package
 * @returns path of the program
 * @throws Error when there is no C compiler
 */
export function compile(source: string): string {
  const output = join(packageRoot, 'build', basename(source, '.c'));
  mkdirSync(join(packageRoot, 'build'), { recursive: true });
  // Another bench may be running the program, or compiling it.
  const own = `${output}.${process.pid}`;
  const path = join(packageRoot, source);
  const { status, stderr, error } = spawnSync('cc', ['-O2', path, '-o', own]);
  if (status !== 0) throw new Error(`cannot compile ${source} with cc: ${error ?? stderr}`);
  renameSync(own, output);
  return output;
}

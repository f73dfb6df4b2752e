/** Compiles the C programs of the benches into build/. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, renameSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { packageRoot } from '../../../common/process/package-root.js';

/** The headers of Node's OpenSSL, and the library of the system, which has the same interface. */
const TLS_OPTIONS = [
  '-DTLS',
  `-I${join(dirname(dirname(process.execPath)), 'include/node')}`,
  '-l:libssl.so.3',
  '-l:libcrypto.so.3',
];

/**
 * @param source path below the package
 * @param hasTls whether to define `TLS` and to link OpenSSL
 * @returns path of the program
 * @throws Error when there is no C compiler, or no OpenSSL
 */
export function compile(source: string, hasTls = false): string {
  const output = join(packageRoot, 'build', `${basename(source, '.c')}${hasTls ? '-tls' : ''}`);
  mkdirSync(join(packageRoot, 'build'), { recursive: true });
  // Another bench may be running the program, or compiling it.
  const own = `${output}.${process.pid}`;
  const path = join(packageRoot, source);
  const options = hasTls ? TLS_OPTIONS : [];
  const { status, stderr, error } = spawnSync('cc', ['-O2', path, ...options, '-o', own]);
  if (status !== 0) throw new Error(`cannot compile ${source} with cc: ${error ?? stderr}`);
  renameSync(own, output);
  return output;
}

/**
 * Runs the transport tests with the native transport built for AddressSanitizer and
 * UndefinedBehaviorSanitizer, then the C++ fuzz test without Node. In a copy of this folder: other
 * processes may load the normal library meanwhile. Leak detection is off in Node, which leaks at
 * exit itself.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative, findHeaders } from '../build-native.mjs';

const NATIVE = 'common/transport/native';
const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const FLAGS = [
  '-O1',
  '-g',
  '-fno-omit-frame-pointer',
  '-fsanitize=address,undefined',
  '-fno-sanitize-recover=undefined',
];

/** The library is built again, and the others are large. */
const NOT_COPIED = ['.git', 'build', 'node_modules', 'prebuilds'];

const SEEDS = [1, 2, 3];
const STEPS = 100_000;

const copy = mkdtempSync(join(tmpdir(), 'longline-sanitized-'));
try {
  cpSync(ROOT, copy, { recursive: true, filter: (path) => !NOT_COPIED.includes(basename(path)) });
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  if (buildNative(copy, console.error, FLAGS)) process.exitCode = testTransports() || fuzz();
} finally {
  rmSync(copy, { recursive: true });
}

/** Returns the exit status. */
function testTransports() {
  // Node itself is built without sanitizers, so their run-time libraries must be preloaded.
  const libraries = ['libasan.so', 'libubsan.so'].map((name) =>
    execFileSync('c++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim(),
  );
  const { status } = spawnSync(
    process.execPath,
    ['node_modules/jest/bin/jest.js', '--maxWorkers=2', 'test/common/transport'],
    {
      cwd: copy,
      stdio: 'inherit',
      env: {
        ...process.env,
        NODE_OPTIONS: '--experimental-vm-modules --no-warnings',
        ASAN_OPTIONS: 'detect_leaks=0',
        LD_PRELOAD: libraries.join(' '),
      },
    },
  );
  return status ?? 1;
}

/** Returns the exit status. */
function fuzz() {
  const folder = mkdtempSync(join(tmpdir(), 'longline-fuzz-'));
  try {
    const program = join(folder, 'fuzz');
    const sources = readdirSync(NATIVE)
      .filter((name) => name.endsWith('.cc') && name !== 'binding.cc')
      .map((name) => join(NATIVE, name));
    // OpenSSL's headers are Node's; its library is the system's.
    const options = ['-std=c++17', `-I${findHeaders()}`, ...FLAGS];
    const build = [
      ...options,
      'test/common/transport/fuzz.cc',
      'test/common/transport/fuzz-tls.cc',
      'test/common/transport/fuzz-tls-bounds.cc',
      ...sources,
      '-l:libssl.so.3',
      '-l:libcrypto.so.3',
    ];
    const run = (command, ...args) =>
      spawnSync(command, args, { cwd: ROOT, stdio: 'inherit' }).status;
    let status = run('c++', ...build, '-o', program);
    for (const seed of SEEDS) status ||= run(program, String(seed), String(STEPS));
    return status ?? 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

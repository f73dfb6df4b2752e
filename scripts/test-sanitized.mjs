/**
 * The tests of the transports with the native one built for AddressSanitizer and
 * UndefinedBehaviorSanitizer. Puts the usual build back when it is done. Leaks are not looked for:
 * Node has its own at exit.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative } from './build-native.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const FLAGS = [
  '-O1',
  '-g',
  '-fno-omit-frame-pointer',
  '-fsanitize=address,undefined',
  '-fno-sanitize-recover=undefined',
];

if (buildNative(ROOT, console.error, FLAGS)) {
  try {
    // The addon is loaded by a program that knows nothing of sanitizers.
    const libraries = ['libasan.so', 'libubsan.so'].map((name) =>
      execFileSync('c++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim(),
    );
    const { status } = spawnSync(
      process.execPath,
      ['node_modules/jest/bin/jest.js', 'test/common/transport'],
      {
        cwd: ROOT,
        stdio: 'inherit',
        env: {
          ...process.env,
          NODE_OPTIONS: '--experimental-vm-modules --no-warnings',
          ASAN_OPTIONS: 'detect_leaks=0',
          LD_PRELOAD: libraries.join(' '),
        },
      },
    );
    process.exitCode = status ?? 1;
  } finally {
    buildNative(ROOT, console.error);
  }
}

/**
 * From a fresh clone to something that runs: dependencies, generated code, compiled code, and the
 * `longline` command for `npx`. Needs Node and a shell, nothing else. Every step compares a digest
 * of its inputs with that of its last run, so that doing nothing is quick; `npm start`, `npm test`
 * and the benches begin with it. With `--test` it also gets what the tests need of the system.
 *
 * Says one line on standard error per step that does something; standard output stays free.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative, toolchain } from './build-native.mjs';
import { ensureHelm } from './ensure-helm.mjs';
import { ensureRedis } from './ensure-redis.mjs';
import { ensureTool } from './fetched-tools.mjs';
import { withLock } from './lock.mjs';
import { ensureTestClients } from './test/clients.mjs';

/** `zlib.crc32`, on which every shard depends, came with these. */
const NODE_MIN = [20, 15];

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const COMMAND = 'dist/cli/main.js';
const BUILD_INFO = 'dist/.tsbuildinfo';
/** The client is for browsers, too: it is checked without the types of Node. */
const CLIENT = 'client/tsconfig.json';
const CLIENT_TYPES = 'client/dist/connect.d.ts';
const DASHBOARD = 'control/dashboard';
const NATIVE = 'build/transport.node';
const SCHEMA = 'proto/gen/image.binpb';
/** Read by `common/process/build-info.ts`. */
const BUILD = 'dist/build.json';
/** Digest of the inputs of each step at its last run; gone with the dependencies. */
const STAMPS = 'node_modules/.longline-setup.json';

const steps = [
  {
    name: 'dependencies',
    says: 'installing dependencies (npm ci)',
    digest: () => digestOf(['package-lock.json']),
    // The build needs development dependencies, even with NODE_ENV=production.
    run: () => run('npm', 'ci', '--ignore-scripts', '--include=dev'),
  },
  {
    name: 'generated',
    says: 'generating code from proto/ (buf)',
    digest: () =>
      digestOf([
        'package-lock.json',
        'buf.yaml',
        'buf.gen.yaml',
        ...filesBelow('proto', '.proto'),
      ]) + versionOf(SCHEMA),
    run: () => {
      run('node_modules/.bin/buf', 'generate');
      run('node_modules/.bin/buf', 'build', '-o', SCHEMA);
      appendHealthSchema();
    },
  },
  {
    name: 'compiled',
    says: 'compiling (tsc)',
    // The version of the build info: another process may have run the compiler meanwhile.
    digest: () =>
      digestOf(['package-lock.json', 'tsconfig.json', CLIENT, SCHEMA, ...sources()]) +
      versionOf(BUILD_INFO) +
      existsSync(at(COMMAND)) +
      existsSync(at(CLIENT_TYPES)),
    run: () => {
      // Without its output, the incremental compiler would emit only the files that changed.
      if (!existsSync(at(COMMAND))) rmSync(at(BUILD_INFO), { force: true });
      run('node_modules/.bin/tsc');
      run('node_modules/.bin/tsc', '-p', CLIENT);
      mkdirSync(dirname(at('dist', SCHEMA)), { recursive: true });
      copyFileSync(at(SCHEMA), at('dist', SCHEMA));
      linkCommand();
    },
  },
  {
    name: 'dashboard',
    says: 'building the dashboard (esbuild)',
    digest: () =>
      digestOf([
        'package-lock.json',
        'scripts/build-dashboard.mjs',
        ...['.html', '.css', '.ts', '.tsx'].flatMap((suffix) => filesBelow(DASHBOARD, suffix)),
      ]) + existsSync(at('dist', DASHBOARD, 'index.html')),
    // `npm run check` checks its types, which takes seconds.
    run: () => run(process.execPath, 'scripts/build-dashboard.mjs'),
  },
  {
    name: 'build',
    says: 'recording the commit',
    digest: () => `${commitOfSources()}${existsSync(at(BUILD))}`,
    run: () => {
      mkdirSync(dirname(at(BUILD)), { recursive: true });
      writeFileSync(at(BUILD), `${JSON.stringify({ commit: commitOfSources() })}\n`);
    },
  },
  {
    name: 'native',
    says: 'building the native transport',
    digest: () =>
      digestOf(filesBelow('common/transport/native', '')) + toolchain() + existsSync(at(NATIVE)),
    run: () => buildNative(ROOT, say),
  },
];

await main();

async function main() {
  try {
    checkNode();
    const isCurrent = (step) => readStamps()[step.name] === step.digest();
    // Stamps are written after a step has ended, so this needs no lock.
    if (!steps.every(isCurrent)) {
      await withLock(
        at('dist/.setup-lock'),
        () => say('another setup is running; waiting for it'),
        () => {
          for (const step of steps) {
            if (isCurrent(step)) continue;
            say(step.says);
            step.run();
            const stamps = { ...readStamps(), [step.name]: step.digest() };
            writeFileSync(at(STAMPS), JSON.stringify(stamps));
          }
        },
      );
    }
    if (process.argv.includes('--test')) {
      ensureRedis(say);
      ensureTestClients(say);
      ensureHelm(say);
      ensureTool('hadolint', say);
    }
  } catch (error) {
    say(`failed: ${error.message}`);
    process.exitCode = 1;
  }
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < NODE_MIN[0] || (major === NODE_MIN[0] && minor < NODE_MIN[1])) {
    throw new Error(
      `Longline needs Node.js ${NODE_MIN.join('.')} or later; this is ${process.versions.node}`,
    );
  }
}

/** Reflection also describes `grpc.health.v1`. Concatenated descriptor sets are one set. */
function appendHealthSchema() {
  const schema = `${SCHEMA}.health.binpb`;
  run('node_modules/.bin/buf', 'build', 'node_modules/grpc-health-check/proto', '-o', schema);
  appendFileSync(at(SCHEMA), readFileSync(at(schema)));
  rmSync(at(schema));
}

/** The commit of a checkout; undefined without one, as in the build of an image. */
function commitOfSources() {
  if (process.env.SOURCE_COMMIT) return process.env.SOURCE_COMMIT;
  if (!existsSync(at('.git'))) return undefined;
  const { status, stdout } = spawnSync('git', ['rev-parse', 'HEAD'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  return status === 0 ? stdout.trim() : undefined;
}

/** Makes `npx longline` work: npm links the commands of dependencies, not those of the package. */
function linkCommand() {
  const link = at('node_modules/.bin/longline');
  rmSync(link, { force: true });
  symlinkSync(join('../..', COMMAND), link);
  chmodSync(at(COMMAND), 0o755);
}

function sources() {
  const { include } = JSON.parse(readFileSync(at('tsconfig.json'), 'utf8'));
  return include.flatMap((folder) => filesBelow(folder, '.ts'));
}

function filesBelow(folder, suffix) {
  if (!existsSync(at(folder))) return [];
  return readdirSync(at(folder), { recursive: true })
    .filter((name) => name.endsWith(suffix))
    .map((name) => join(folder, name))
    .sort();
}

function digestOf(files) {
  const hash = createHash('sha256');
  for (const file of files) {
    if (existsSync(at(file))) hash.update(`\0${file}\0`).update(readFileSync(at(file)));
  }
  return hash.digest('hex');
}

/** Changes whenever the file is written. */
function versionOf(file) {
  return existsSync(at(file)) ? `@${statSync(at(file)).mtimeMs}` : '@none';
}

function readStamps() {
  return existsSync(at(STAMPS)) ? JSON.parse(readFileSync(at(STAMPS), 'utf8')) : {};
}

function run(command, ...args) {
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
  });
  if (status === 0) return;
  const why = error?.message ?? `exit status ${status}`;
  throw new Error(`${[command, ...args].join(' ')}: ${why}\n${stdout ?? ''}${stderr ?? ''}`);
}

function at(...path) {
  return join(ROOT, ...path);
}

function say(line) {
  process.stderr.write(`setup: ${line}\n`);
}

/**
 * Runs Longline on every Node.js release that it supports: a local cluster with one device and one
 * push, and the tests of the transports. The releases are in node-matrix/package-lock.json, with
 * their digests. Linux on x64 only, because npm has no others in this form.
 *
 *   npm run -s test:node -- --json
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const MATRIX = join(ROOT, 'scripts/test/node-matrix');
const INSTALLED = join(ROOT, 'build/node-matrix');
const READY_DEADLINE_MS = 120_000;

if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.log(`skipped: npm has no Node.js releases for ${process.platform} on ${process.arch}`);
  process.exit();
}
const isJson = process.argv.includes('--json');
for (const node of installReleases()) {
  const result = { node: versionOf(node), ...(await tryCluster(node)), ...runTransportTests(node) };
  const isGood = result.verdict === 'WRITTEN' && result.testsFailed === 0 && result.testsPassed > 0;
  if (!isGood) process.exitCode = 1;
  console.log(isJson ? JSON.stringify(result) : describe(result));
}

/** @returns the paths of the node binaries, oldest release first */
function installReleases() {
  const lock = join(MATRIX, 'package-lock.json');
  const installedLock = join(INSTALLED, 'package-lock.json');
  const isCurrent =
    existsSync(join(INSTALLED, 'node_modules')) &&
    readFileSync(installedLock, 'utf8') === readFileSync(lock, 'utf8');
  if (!isCurrent) {
    rmSync(INSTALLED, { recursive: true, force: true });
    mkdirSync(INSTALLED, { recursive: true });
    cpSync(MATRIX, INSTALLED, { recursive: true });
    const { status, stderr } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit'], {
      cwd: INSTALLED,
      encoding: 'utf8',
    });
    if (status !== 0) {
      rmSync(INSTALLED, { recursive: true, force: true });
      throw new Error(`npm ci in build/node-matrix:\n${stderr}`);
    }
  }
  const { dependencies } = JSON.parse(readFileSync(join(MATRIX, 'package.json'), 'utf8'));
  return Object.keys(dependencies).map((name) => join(INSTALLED, 'node_modules', name, 'bin/node'));
}

function versionOf(node) {
  return spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim().slice(1);
}

/** Starts a cluster, holds one SSE connection and pushes to it. */
async function tryCluster(node) {
  const main = join(ROOT, 'dist/cli/main.js');
  const cluster = spawn(node, [main, 'dev', '--edges', '2'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(cluster, 'exit');
  try {
    await Promise.race([
      untilLine(cluster.stdout, 'Longline is ready'),
      exited.then(([code]) => Promise.reject(new Error(`longline dev ended with ${code}`))),
      sleep(READY_DEADLINE_MS, undefined, { ref: false }).then(() =>
        Promise.reject(new Error('longline dev is not ready')),
      ),
    ]);
    const device = await fetch('http://localhost:7100/connect?clientId=node-matrix');
    const { stdout } = spawnSync(node, [main, 'push', 'node-matrix', 'hello', '--json'], {
      encoding: 'utf8',
    });
    await device.body.cancel();
    return {
      cluster: 'ready',
      transport: await transportOf(),
      verdict: JSON.parse(stdout).verdict,
    };
  } catch (error) {
    return { cluster: error.message, transport: null, verdict: null };
  } finally {
    cluster.kill();
    await exited;
  }
}

/** `native` or `portable`, as the first edge reports it. */
async function transportOf() {
  const response = await fetch('http://localhost:7060/metrics');
  const isNative = /^longline_edge_transport_native 1$/m.test(await response.text());
  return isNative ? 'native' : 'portable';
}

function runTransportTests(node) {
  const folder = mkdtempSync(join(tmpdir(), 'longline-test-node-'));
  const outputFile = join(folder, 'jest.json');
  const jest = join(ROOT, 'node_modules/jest/bin/jest.js');
  try {
    const { stderr } = spawnSync(
      node,
      [
        '--experimental-vm-modules',
        '--no-warnings',
        jest,
        '--json',
        '--outputFile',
        outputFile,
        'test/common/transport',
      ],
      { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] },
    );
    const { numPassedTests, numFailedTests, numRuntimeErrorTestSuites } = JSON.parse(
      readFileSync(outputFile, 'utf8'),
    );
    const failed = numFailedTests + numRuntimeErrorTestSuites;
    if (failed > 0) process.stderr.write(stderr);
    return { testsPassed: numPassedTests, testsFailed: failed };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function untilLine(stream, text) {
  for await (const line of createInterface({ input: stream })) if (line.includes(text)) break;
  stream.resume();
}

function describe({ node, cluster, transport, verdict, testsPassed, testsFailed }) {
  const tests = `${testsPassed} transport tests passed, ${testsFailed} failed`;
  return `Node.js ${node}: cluster ${cluster}, ${transport} transport, push ${verdict}, ${tests}`;
}

/**
 * `npm run test:k8s`: tests the chart on a real Kubernetes. Progress goes to standard error, the
 * result to standard output as one line of JSON. Exits 0 if every check passed.
 *
 * This process installs and builds the requirements, then starts inside.ts as process 1 of new
 * namespaces: when that ends, the kernel removes every process, mount, network device and rule of
 * the test. It ends with its standard input, so also when this process is killed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Failure } from '../../cli/terminal/failure.js';
import { stopRequest } from '../../cli/terminal/stop-request.js';
import { packageRoot } from '../../common/process/package-root.js';
import { buildBinaries } from './cluster/binaries.js';
import { makeCgroups, removeCgroups } from './cluster/cgroups.js';
import { fetchCrds } from './cluster/crds.js';
import { LONGLINE_IMAGE } from './cluster/layout.js';
import { rejectionOf, run } from './command.js';
import type { InsideOptions, InsideResult } from './inside.js';
import { ensureHelm } from './kubectl.js';

/** Debian's package of each command. */
const PACKAGES: Readonly<Record<string, string>> = {
  containerd: 'containerd',
  runc: 'runc',
  '/usr/lib/cni/bridge': 'containernetworking-plugins',
  etcd: 'etcd-server',
  'redis-server': 'redis-server',
  'redis-cli': 'redis-tools',
  iptables: 'iptables',
  ip: 'iproute2',
  conntrack: 'conntrack',
  openssl: 'openssl',
};

const ARCHIVE = join(packageRoot, 'build/k8s/longline.tar');

const { values } = parseArgs({
  options: {
    devices: { type: 'string', default: '2000' },
    pushes: { type: 'string', default: '100' },
  },
});
const startMs = performance.now();
const secondsSince = (ms: number) => Math.round((performance.now() - ms) / 1000);
const say = (line: string) => process.stderr.write(`k8s: ${line}\n`);
const signal = stopRequest();

try {
  const { result, prepareSeconds } = await main(signal);
  console.log(JSON.stringify({ ...result, prepareSeconds, seconds: secondsSince(startMs) }));
  const violations = Object.values(result.operations.violations);
  process.exitCode = violations.some((count) => count > 0) ? 1 : 0;
} catch (error) {
  // After a stop request, the operation in progress fails with an error of its own.
  if (!(error instanceof Failure || signal.aborted)) throw error;
  say(signal.aborted ? 'stopped' : `failed: ${(error as Error).message}`);
  process.exitCode = 1;
}

async function main(
  signal: AbortSignal,
): Promise<{ result: InsideResult; prepareSeconds: number }> {
  if (process.platform !== 'linux' || process.getuid!() !== 0) {
    throw new Failure('the test starts kubelets: run it on Linux as root');
  }
  await installPackages();
  ensureHelm(say);
  await fetchCrds();
  await buildBinaries(say, signal);
  say('building the image');
  const build = join(packageRoot, 'k8s/build-image.mjs');
  await run(process.execPath, [build, '--name', LONGLINE_IMAGE, '--output', ARCHIVE]);
  const prepareSeconds = secondsSince(startMs);
  removeCgroups();
  makeCgroups();
  try {
    return { result: await runInside(signal), prepareSeconds };
  } finally {
    removeCgroups();
  }
}

async function runInside(signal: AbortSignal): Promise<InsideResult> {
  signal.throwIfAborted();
  const options: InsideOptions = {
    imageArchive: ARCHIVE,
    devices: Number(values.devices),
    pushesPerSecond: Number(values.pushes),
  };
  const namespaces = ['--mount', '--net', '--pid', '--uts', '--ipc', '--fork', '--mount-proc'];
  const inside = fileURLToPath(new URL('inside.js', import.meta.url));
  const command = [process.execPath, inside, JSON.stringify(options)];
  const child = spawn('unshare', [...namespaces, '--kill-child', ...command], {
    stdio: ['pipe', 'pipe', 'inherit'],
    // Ctrl-C reaches only this process, which then closes the child's standard input.
    detached: true,
  });
  signal.addEventListener('abort', () => child.stdin.destroy());
  const [printed, [status]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  signal.throwIfAborted();
  if (status !== 0) throw new Failure(`the test exited with ${status}`);
  return JSON.parse(printed) as InsideResult;
}

async function installPackages(): Promise<void> {
  const missing: string[] = [];
  for (const [command, name] of Object.entries(PACKAGES)) {
    if (await rejectionOf('sh', ['-c', `command -v ${command}`])) missing.push(name);
  }
  if (missing.length === 0) return;
  const script = pathToFileURL(join(packageRoot, 'scripts/system-packages.mjs')).href;
  const { installPackages: install } = (await import(script)) as {
    installPackages: (packages: object, say: (line: string) => void) => string | undefined;
  };
  const failure = install({ 'apt-get': missing }, say);
  if (failure !== undefined) throw new Failure(failure);
}

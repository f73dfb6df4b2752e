/**
 * `npm run test:k8s`: the chart on a real Kubernetes. Progress goes to standard error, one line of
 * JSON to standard output; exit status 0 if all that it says is as it must be.
 *
 * This half installs and builds what is needed, then starts the other half (inside.ts) in namespaces
 * of its own. There it is process 1: when it ends, the kernel ends every process, mount, network
 * device and rule that the test made. It ends when its standard input does, so also when we are killed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Failure } from '../../cli/failure.js';
import { packageRoot } from '../../cli/package-root.js';
import { stopRequest } from '../../cli/stop-request.js';
import { buildBinaries } from './binaries.js';
import { makeCgroups, removeCgroups } from './cgroups.js';
import { refusalOf } from './command.js';

const PACKAGES = [
  ...['containerd', 'runc', 'containernetworking-plugins', 'etcd-server', 'redis-server'],
  ...['iptables', 'iproute2', 'conntrack', 'openssl', 'hostname'],
];
/** Each from one of the packages. */
const COMMANDS = [
  'containerd',
  'runc',
  'etcd',
  'redis-server',
  'iptables',
  'ip',
  'conntrack',
  'openssl',
  'hostname',
];

const startMs = performance.now();
const say = (line: string) =>
  process.stderr.write(`k8s ${Math.round((performance.now() - startMs) / 1000)} s: ${line}\n`);

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  say(`failed: ${error.message}`);
  process.exitCode = 1;
}

async function main(): Promise<number> {
  const signal = stopRequest();
  if (process.platform !== 'linux' || process.getuid!() !== 0) {
    throw new Failure('this needs Linux and root: it starts a kubelet');
  }
  await installPackages();
  await buildBinaries(say);
  signal.throwIfAborted();
  removeCgroups();
  makeCgroups();
  const namespaces = ['--mount', '--net', '--pid', '--uts', '--ipc', '--fork', '--mount-proc'];
  const inside = fileURLToPath(new URL('inside.js', import.meta.url));
  const child = spawn('unshare', [...namespaces, '--kill-child', process.execPath, inside], {
    stdio: ['pipe', 'inherit', 'inherit'],
    detached: true,
  });
  // Its end is its word to stop.
  signal.addEventListener('abort', () => child.stdin!.destroy());
  const [status] = await once(child, 'exit');
  removeCgroups();
  return status ?? 1;
}

async function installPackages(): Promise<void> {
  const missing = await refusalOf('sh', ['-c', `command -v ${COMMANDS.join(' && command -v ')}`]);
  if (missing === undefined) return;
  const script = pathToFileURL(join(packageRoot, 'scripts/system-packages.mjs')).href;
  const { installPackages: install } = await import(script);
  const why = install({ 'apt-get': PACKAGES }, say);
  if (why !== undefined) throw new Failure(why);
}

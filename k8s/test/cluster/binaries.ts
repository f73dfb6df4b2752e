/**
 * Builds Kubernetes and CoreDNS from the Go module proxy, in the versions pinned by tools/go.mod.
 * The k8s.io/kubernetes module replaces its own libraries with folders that it does not contain, so
 * `go install` cannot build it; our go.mod pins the releases of these libraries instead.
 *
 * The build takes a quarter of an hour of one core, at the lowest priority.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../../../cli/terminal/failure.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { run } from '../command.js';

const SOURCES = join(packageRoot, 'k8s/test/tools');
const FOLDER = join(packageRoot, 'build/k8s/bin');
const STAMP = join(FOLDER, 'built-from');

const PACKAGES = {
  'kube-apiserver': 'k8s.io/kubernetes/cmd/kube-apiserver',
  'kube-controller-manager': 'k8s.io/kubernetes/cmd/kube-controller-manager',
  'kube-scheduler': 'k8s.io/kubernetes/cmd/kube-scheduler',
  kubelet: 'k8s.io/kubernetes/cmd/kubelet',
  'kube-proxy': 'k8s.io/kubernetes/cmd/kube-proxy',
  kubectl: 'k8s.io/kubernetes/cmd/kubectl',
  coredns: './coredns',
  pause: './pause',
} as const;

export type BinaryName = keyof typeof PACKAGES;

export function binary(name: BinaryName): string {
  return join(FOLDER, name);
}

/** Builds all binaries unless they exist and their sources have not changed. */
export async function buildBinaries(
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const digest = await digestOfSources();
  mkdirSync(FOLDER, { recursive: true });
  if (existsSync(STAMP) && readFileSync(STAMP, 'utf8') === digest) return;
  say('building Kubernetes from source: the first build takes at least a quarter of an hour');
  for (const [name, path] of Object.entries(PACKAGES)) {
    const fromMs = performance.now();
    await build(path, signal);
    say(`${name}: ${Math.round((performance.now() - fromMs) / 1000)} s`);
  }
  writeFileSync(STAMP, digest);
}

async function build(path: string, signal: AbortSignal): Promise<void> {
  const flags = ['-p', '1', '-trimpath', `-ldflags=-s -w ${versionFlags()}`, '-o', `${FOLDER}/`];
  const child = spawn('nice', ['-n', '19', 'go', 'build', ...flags, path], {
    cwd: SOURCES,
    // Uses the installed toolchain: another one cannot be downloaded everywhere.
    env: { ...process.env, CGO_ENABLED: '0', GOTOOLCHAIN: 'local' },
    stdio: ['ignore', 'ignore', 'inherit'],
    signal,
  });
  const [status] = await once(child, 'exit');
  if (status !== 0) throw new Failure(`go build ${path} failed (${status})`);
}

/** Linker flags that set the version of Kubernetes, which the chart checks. */
function versionFlags(): string {
  const required = readFileSync(join(SOURCES, 'go.mod'), 'utf8');
  const [, version, major, minor] = /k8s\.io\/kubernetes (v(\d+)\.(\d+)\.\d+)/.exec(required)!;
  const values = { gitVersion: version, gitMajor: major, gitMinor: minor, gitTreeState: 'clean' };
  return Object.entries(values)
    .map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`)
    .join(' ');
}

async function digestOfSources(): Promise<string> {
  const hash = createHash('sha256').update(await run('go', ['version']));
  for (const name of readdirSync(SOURCES, { recursive: true, encoding: 'utf8' }).sort()) {
    if (/\.(go|mod|sum)$/.test(name)) hash.update(name).update(readFileSync(join(SOURCES, name)));
  }
  return hash.digest('hex');
}

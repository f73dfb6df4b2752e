/** Servers of the Go module proxy, built into build/peers. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { packageRoot } from '../../common/process/package-root.js';
import { progress } from '../support/report.js';

export interface Installed {
  readonly path: string;
  readonly version: string;
}

/** An older version is built when the newest ones need another Go. */
const VERSIONS_TRIED = 3;
const RELEASE = /^v[0-9.]+$/;

/** Returns the newest release that this machine can build, or in one line what is missing. */
export function installNewest(module: string): Installed | { missing: string } {
  const listed = go(['list', '-m', '-versions', module]);
  if ('missing' in listed) return listed;
  const versions = listed.output
    .trim()
    .split(' ')
    .filter((version) => RELEASE.test(version));
  let failure = { missing: `${module} has no release` };
  for (const version of versions.slice(-VERSIONS_TRIED).toReversed()) {
    const folder = join(packageRoot, 'build/peers', version);
    const path = join(folder, basename(module.replace(/\/v[0-9]+$/, '')));
    if (existsSync(path)) return { path, version };
    progress(`building ${module}@${version}; this takes minutes`);
    const built = go(['install', `${module}@${version}`], { GOBIN: folder });
    if (!('missing' in built)) return { path, version };
    failure = built;
  }
  return failure;
}

function go(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): { output: string } | { missing: string } {
  const { status, stdout, stderr, error } = spawnSync('go', args, {
    cwd: '/',
    encoding: 'utf8',
    env: { ...process.env, GOTOOLCHAIN: 'local', GOFLAGS: '-buildvcs=false', ...env },
  });
  if (error) return { missing: `the go command does not run: ${error.message}` };
  if (status === 0) return { output: stdout };
  const reason = stderr.trim().split('\n').at(-1);
  return { missing: `go ${args[0]} failed: ${reason}` };
}

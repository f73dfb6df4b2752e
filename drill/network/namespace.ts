/**
 * The drill's own network namespace. Node.js cannot change its namespace, so the command runs once
 * more as a child, in a new one. The child ends when this process ends, also when it is killed.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { SWITCH_SOURCE } from './network.js';

/** Set in the child. */
const MARK = 'LONGLINE_DRILL_IN_NAMESPACE';

/** Why this machine has no network for a drill; undefined if it has. */
export async function networkObstacle(): Promise<string | undefined> {
  const obstacle = namespacesObstacle();
  if (obstacle !== undefined) return obstacle;
  if (!existsSync('/dev/net/tun')) return 'it needs /dev/net/tun';
  if (!existsSync(SWITCH_SOURCE)) return 'it needs a checkout of the sources';
  return (
    commandObstacle('cc', '--version') ??
    commandObstacle('nsenter', '--version') ??
    commandObstacle('unshare', '--net', 'true')
  );
}

/** Why this process cannot make network namespaces; undefined if it can. */
export function namespacesObstacle(): string | undefined {
  if (process.platform !== 'linux') return 'it needs the network namespaces of Linux';
  if (process.getuid?.() !== 0) return 'it needs root, for network namespaces';
  return undefined;
}

/** Why a command cannot be run; undefined if it succeeds. */
export function commandObstacle(command: string, ...args: readonly string[]): string | undefined {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return undefined;
  return `${[command, ...args].join(' ')} fails: ${stderr?.trim() ?? 'not found'}`;
}

/**
 * Runs this command in a network namespace of its own and resolves with its exit status; resolves
 * with undefined in that child.
 */
export function runInNamespace(): Promise<number> | undefined {
  if (process.env[MARK] !== undefined) {
    delete process.env[MARK];
    process.once('disconnect', () => process.kill(process.pid, 'SIGINT'));
    // The channel only serves to notice the end of the parent.
    process.channel?.unref();
    return undefined;
  }
  const child = spawn('unshare', ['--net', process.execPath, ...process.argv.slice(1)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [MARK]: '1' },
    // Outside the terminal's process group: it receives each signal once, from here.
    detached: true,
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => child.kill(signal));
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 2));
  });
}

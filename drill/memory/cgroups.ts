/**
 * Memory cgroups of this machine. Versions 1 and 2 differ in the names of their files only. The
 * name of a group has the pid of the process that created it: groups of processes that were killed
 * are removed by the next one.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface CgroupVersion {
  readonly number: 1 | 2;
  readonly root: string;
  /** File with the limit, in bytes, and its value for no limit. */
  readonly limit: string;
  readonly unlimited: string;
  readonly used: string;
  /** The most that was used. Version 2 has it since Linux 5.19. */
  readonly usedMax: string;
  /** File with a line `oom_kill <count>`. */
  readonly events: string;
}

const V1: CgroupVersion = {
  number: 1,
  root: '/sys/fs/cgroup/memory',
  limit: 'memory.limit_in_bytes',
  unlimited: '-1',
  used: 'memory.usage_in_bytes',
  usedMax: 'memory.max_usage_in_bytes',
  events: 'memory.oom_control',
};
const V2: CgroupVersion = {
  number: 2,
  root: '/sys/fs/cgroup',
  limit: 'memory.max',
  unlimited: 'max',
  used: 'memory.current',
  usedMax: 'memory.peak',
  events: 'memory.events',
};

const PROBE = 'longline-probe-';
const REMOVE_TRIES = 20;
const REMOVE_RETRY_MS = 100;

export function cgroupVersion(): CgroupVersion {
  return existsSync(join(V1.root, V1.limit)) ? V1 : V2;
}

/** Why processes cannot have memory cgroups on this machine; undefined if they can. */
export async function memoryObstacle(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'it needs the cgroups of Linux';
  const { root, limit, unlimited } = cgroupVersion();
  const probe = join(root, `${PROBE}${process.pid}`);
  try {
    await mkdir(probe);
    if (!existsSync(join(probe, limit))) return 'the memory controller is not enabled';
    await writeFile(join(probe, limit), unlimited);
    return undefined;
  } catch (error) {
    return `it needs a memory cgroup: ${(error as Error).message}`;
  } finally {
    await rmdir(probe).catch(() => {});
  }
}

/** The command that moves the process which executes it into a group. */
export function commandIn(path: string): string[] {
  return ['sh', '-c', `echo $$ > ${join(path, 'cgroup.procs')}; exec "$0" "$@"`];
}

/**
 * Removes groups of processes that do not run any more.
 * @param prefix of their names, before the pid
 */
export async function removeStaleCgroups(prefix: string): Promise<void> {
  const { root } = cgroupVersion();
  for (const name of await readdir(root)) {
    const pid = name.startsWith(prefix) ? Number.parseInt(name.slice(prefix.length), 10) : 0;
    if (pid > 0 && !existsSync(`/proc/${pid}`)) await removeCgroup(join(root, name));
  }
}

/**
 * Removes a group and those in it. It stays busy for a moment after the exit of its last process.
 */
export async function removeCgroup(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeCgroup(join(path, entry.name));
  }
  for (let tries = 1; tries <= REMOVE_TRIES; tries++) {
    try {
      return await rmdir(path);
    } catch (error) {
      if (tries === REMOVE_TRIES)
        console.warn(`cannot remove ${path}: ${(error as Error).message}`);
      else await sleep(REMOVE_RETRY_MS);
    }
  }
}

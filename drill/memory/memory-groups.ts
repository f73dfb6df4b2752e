/**
 * A memory cgroup for each role of a drill, so that a role can have too little memory. Cgroups of
 * version 1 and 2 differ in the names of their files only. The names of the groups have the pid of
 * the drill: groups of drills that were killed are removed by the next one.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

interface Version {
  readonly root: string;
  /** File with the limit, in bytes, and its value for no limit. */
  readonly limit: string;
  readonly unlimited: string;
  readonly used: string;
  /** File with a line `oom_kill <count>`. */
  readonly events: string;
}

const V1: Version = {
  root: '/sys/fs/cgroup/memory',
  limit: 'memory.limit_in_bytes',
  unlimited: '-1',
  used: 'memory.usage_in_bytes',
  events: 'memory.oom_control',
};
const V2: Version = {
  root: '/sys/fs/cgroup',
  limit: 'memory.max',
  unlimited: 'max',
  used: 'memory.current',
  events: 'memory.events',
};

const PREFIX = 'longline-drill-';
const REMOVE_TRIES = 20;
const REMOVE_RETRY_MS = 100;

/** Why roles cannot have memory cgroups on this machine; undefined if they can. */
export async function memoryObstacle(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'it needs the cgroups of Linux';
  const probe = join(version().root, `${PREFIX}${process.pid}-probe`);
  try {
    await mkdir(probe);
    if (!existsSync(join(probe, version().limit))) return 'the memory controller is not enabled';
    await writeFile(join(probe, version().limit), version().unlimited);
    return undefined;
  } catch (error) {
    return `it needs a memory cgroup: ${(error as Error).message}`;
  } finally {
    await rmdir(probe).catch(() => {});
  }
}

export class MemoryGroups {
  readonly #members: readonly string[];

  private constructor(members: readonly string[]) {
    this.#members = members;
  }

  static async open(members: readonly string[]): Promise<MemoryGroups> {
    await removeStale();
    for (const member of members) await mkdir(pathOf(member));
    return new MemoryGroups(members);
  }

  /** The command that moves the process which executes it into the group of a member. */
  commandOf(member: string): string[] {
    return ['sh', '-c', `echo $$ > ${join(pathOf(member), 'cgroup.procs')}; exec "$0" "$@"`];
  }

  async setLimit(member: string, bytes: number | undefined): Promise<void> {
    const { limit, unlimited } = version();
    await writeFile(join(pathOf(member), limit), bytes === undefined ? unlimited : `${bytes}`);
  }

  async used(member: string): Promise<number> {
    return Number(await readFile(join(pathOf(member), version().used), 'utf8'));
  }

  /** Processes of the member that the kernel has killed because of the limit. */
  async kills(member: string): Promise<number> {
    const events = await readFile(join(pathOf(member), version().events), 'utf8');
    return Number(/^oom_kill (\d+)$/m.exec(events)?.[1] ?? 0);
  }

  /** To be called when the members have exited. */
  async close(): Promise<void> {
    for (const member of this.#members) await remove(pathOf(member));
  }
}

function version(): Version {
  return existsSync(join(V1.root, V1.limit)) ? V1 : V2;
}

function pathOf(member: string): string {
  return join(version().root, `${PREFIX}${process.pid}-${member}`);
}

/** Removes the groups of drills that do not run any more. */
async function removeStale(): Promise<void> {
  for (const name of await readdir(version().root)) {
    const pid = name.startsWith(PREFIX) ? Number.parseInt(name.slice(PREFIX.length), 10) : 0;
    if (pid > 0 && !existsSync(`/proc/${pid}`)) await remove(join(version().root, name));
  }
}

/** A group stays busy for a moment after the exit of its last process. */
async function remove(path: string): Promise<void> {
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

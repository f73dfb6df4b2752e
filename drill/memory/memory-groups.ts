/** A memory cgroup for each role of a drill, so that a role can have too little memory. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cgroupVersion, commandIn, removeCgroup, removeStaleCgroups } from './cgroups.js';

const PREFIX = 'longline-drill-';

export class MemoryGroups {
  readonly #members: readonly string[];

  private constructor(members: readonly string[]) {
    this.#members = members;
  }

  static async open(members: readonly string[]): Promise<MemoryGroups> {
    await removeStaleCgroups(PREFIX);
    for (const member of members) await mkdir(pathOf(member));
    return new MemoryGroups(members);
  }

  /** The command that moves the process which executes it into the group of a member. */
  commandOf(member: string): string[] {
    return commandIn(pathOf(member));
  }

  async setLimit(member: string, bytes: number | undefined): Promise<void> {
    const { limit, unlimited } = cgroupVersion();
    await writeFile(join(pathOf(member), limit), bytes === undefined ? unlimited : `${bytes}`);
  }

  async used(member: string): Promise<number> {
    return Number(await readFile(join(pathOf(member), cgroupVersion().used), 'utf8'));
  }

  /** Processes of the member that the kernel has killed because of the limit. */
  async kills(member: string): Promise<number> {
    const events = await readFile(join(pathOf(member), cgroupVersion().events), 'utf8');
    return Number(/^oom_kill (\d+)$/m.exec(events)?.[1] ?? 0);
  }

  /** To be called when the members have exited. */
  async close(): Promise<void> {
    for (const member of this.#members) await removeCgroup(pathOf(member));
  }
}

function pathOf(member: string): string {
  return join(cgroupVersion().root, `${PREFIX}${process.pid}-${member}`);
}

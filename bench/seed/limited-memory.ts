/**
 * A memory cgroup with a limit, and one in it for each group of processes, so that their memory can
 * be told apart: what they have, and what the kernel has for them.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  cgroupVersion,
  commandIn,
  removeCgroup,
  removeStaleCgroups,
} from '../../drill/memory/cgroups.js';

/** In bytes. */
export interface MemoryUse {
  /** Memory of the processes: heaps, stacks, buffers. */
  readonly user: number;
  /**
   * Pages of files, programs and libraries included; the kernel drops most of them when it must.
   */
  readonly files: number;
  /** Objects of the kernel: sockets, descriptors, page tables. */
  readonly kernel: number;
  /** Bytes in socket buffers. */
  readonly socketBuffers: number;
}

const PREFIX = 'longline-bench-';

export class LimitedMemory {
  readonly #path = join(cgroupVersion().root, `${PREFIX}${process.pid}`);

  private constructor(readonly groups: readonly string[]) {}

  static async open(limitBytes: number, groups: readonly string[]): Promise<LimitedMemory> {
    await removeStaleCgroups(PREFIX);
    const memory = new LimitedMemory(groups);
    await memory.#create(limitBytes);
    return memory;
  }

  async #create(limitBytes: number): Promise<void> {
    const { number, limit, root } = cgroupVersion();
    await mkdir(this.#path);
    if (number === 2) {
      // The files of groups in a group exist only where its parent says so.
      for (const path of [root, this.#path]) {
        await writeFile(join(path, 'cgroup.subtree_control'), '+memory');
      }
    }
    await writeFile(join(this.#path, limit), `${limitBytes}`);
    for (const group of this.groups) {
      await mkdir(this.#pathOf(group));
      // Version 1 counts socket buffers only where they have a limit, and apart from the rest.
      if (number === 1) {
        await writeFile(join(this.#pathOf(group), TCP_LIMIT), `${limitBytes}`);
      }
    }
  }

  commandOf(group: string): string[] {
    return commandIn(this.#pathOf(group));
  }

  useOf(group: string): MemoryUse {
    const path = this.#pathOf(group);
    const stat = readFileSync(join(path, 'memory.stat'), 'utf8');
    const value = (name: string) =>
      Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0);
    if (cgroupVersion().number === 1) {
      return {
        user: value('total_rss'),
        files: value('total_cache'),
        kernel: readNumber(join(path, 'memory.kmem.usage_in_bytes')),
        socketBuffers: readNumber(join(path, 'memory.kmem.tcp.usage_in_bytes')),
      };
    }
    return {
      user: value('anon'),
      files: value('file'),
      kernel: value('kernel'),
      socketBuffers: value('sock'),
    };
  }

  /** All that counts against the limit, and the socket buffers that version 1 counts apart. */
  get usedBytes(): number {
    const used = readNumber(join(this.#path, cgroupVersion().used));
    if (cgroupVersion().number === 2) return used;
    return this.groups.reduce((total, group) => total + this.useOf(group).socketBuffers, used);
  }

  /** The most that counted against the limit; undefined: this kernel does not say. */
  get usedBytesMax(): number | undefined {
    const file = join(this.#path, cgroupVersion().usedMax);
    return existsSync(file) ? readNumber(file) : undefined;
  }

  /** Processes that the kernel has killed because of the limit. */
  get kills(): number {
    const { events } = cgroupVersion();
    const paths = [this.#path, ...this.groups.map((group) => this.#pathOf(group))];
    const counts = paths.map((path) => {
      return /^oom_kill (\d+)$/m.exec(readFileSync(join(path, events), 'utf8'))?.[1];
    });
    return Math.max(...counts.map(Number));
  }

  /** To be called when the processes have exited. */
  close(): Promise<void> {
    return removeCgroup(this.#path);
  }

  #pathOf(group: string): string {
    return join(this.#path, group);
  }
}

const TCP_LIMIT = 'memory.kmem.tcp.limit_in_bytes';

function readNumber(path: string): number {
  return Number(readFileSync(path, 'utf8'));
}

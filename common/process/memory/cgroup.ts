/**
 * The memory control group of this process: its limit, and what counts against it. The kernel kills
 * a process of a group that needs more, and it counts socket buffers, which are in no process'
 * resident memory. The page cache of files counts, too, but is given up first.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where a version of cgroups has its groups, and the names of the files of a group. */
interface Version {
  /** In a line of /proc/<pid>/cgroup, the controllers before the path. */
  readonly isOf: (controllers: string) => boolean;
  readonly root: string;
  readonly limit: string;
  readonly used: string;
  /** In `memory.stat`: page cache that was not used lately. */
  readonly inactive: RegExp;
}

const VERSIONS: readonly Version[] = [
  {
    isOf: (controllers) => controllers.split(',').includes('memory'),
    root: '/sys/fs/cgroup/memory',
    limit: 'memory.limit_in_bytes',
    used: 'memory.usage_in_bytes',
    inactive: /^total_inactive_file (\d+)$/m,
  },
  {
    isOf: (controllers) => controllers === '',
    root: '/sys/fs/cgroup',
    limit: 'memory.max',
    used: 'memory.current',
    inactive: /^inactive_file (\d+)$/m,
  },
];

export interface GroupMemory {
  readonly limitBytes: number;
  readonly usedBytes: number;
}

export class MemoryGroup {
  private constructor(
    readonly folder: string,
    readonly version: Version,
  ) {}

  /** Undefined without a memory control group, as on macOS. */
  static find(): MemoryGroup | undefined {
    const groups = readText('/proc/self/cgroup');
    if (groups === undefined) return undefined;
    for (const version of VERSIONS) {
      const path = pathOf(groups, version);
      if (path === undefined) continue;
      // A container sees its own group as the root, and may read the path that the host has for it.
      const folders = [join(version.root, path), version.root];
      const folder = folders.find((each) => existsSync(join(each, version.used)));
      if (folder !== undefined) return new MemoryGroup(folder, version);
    }
    return undefined;
  }

  /** Undefined while the group has no limit. */
  read(): GroupMemory | undefined {
    const { limit, used, inactive } = this.version;
    const limitBytes = parseCgroupLimit(readText(join(this.folder, limit))) ?? Infinity;
    if (limitBytes === Infinity) return undefined;
    const stat = readText(join(this.folder, 'memory.stat')) ?? '';
    const cached = Number(inactive.exec(stat)?.[1] ?? 0);
    const usedBytes = Number(readText(join(this.folder, used))) - cached;
    return { limitBytes, usedBytes: Math.max(0, usedBytes) };
  }
}

/** No limit is `max` in version 2 and a number near 2^63 in version 1. */
export function parseCgroupLimit(limit: string | undefined): number | undefined {
  if (limit === undefined) return undefined;
  const bytes = Number(limit);
  return limit.trim() === 'max' || bytes > 2 ** 60 ? Infinity : bytes;
}

function pathOf(groups: string, { isOf }: Version): string | undefined {
  for (const line of groups.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers !== undefined && isOf(controllers)) return path;
  }
  return undefined;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** What the kernel says about memory. Linux only. */
import { readFileSync } from 'node:fs';

/** Resident bytes of a process. */
export function residentBytes(pid: number): number {
  return kilobytes(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'), 'Rss');
}

/** What the kernel has allocated for its own objects on this machine: sockets, files, watches. */
export function slabBytes(): number {
  return kilobytes(readFileSync('/proc/meminfo', 'utf8'), 'Slab');
}

function kilobytes(text: string, name: string): number {
  const found = new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text);
  if (found === null) throw new Error(`the kernel does not tell ${name}`);
  return Number(found[1]) * 1024;
}

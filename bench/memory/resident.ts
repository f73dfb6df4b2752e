/** What the kernel says about memory. Linux only. */
import { readFileSync } from 'node:fs';
import { parseSlabs, SOCKET_CACHES } from '../../edge/report/slab.js';

/** Resident bytes of a process. */
export function residentBytes(pid: number): number {
  return kilobytes(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'), 'Rss');
}

/** The same, but what it shares with others is divided by how many they are. */
export function proportionalBytes(pid: number): number {
  return kilobytes(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'), 'Pss');
}

/**
 * What the kernel has allocated on this machine for so many sockets. A socket also has one dentry;
 * these are counted and not measured, for whoever looks into /proc makes the kernel keep more of
 * them. Without the right to read the allocator's caches: all that it has allocated.
 */
export function kernelBytes(sockets: number): number {
  let slabinfo: string;
  try {
    slabinfo = readFileSync('/proc/slabinfo', 'utf8');
  } catch {
    return kilobytes(readFileSync('/proc/meminfo', 'utf8'), 'Slab');
  }
  const slabs = parseSlabs(slabinfo);
  return SOCKET_CACHES.reduce((sum, name) => {
    const slab = slabs.get(name);
    if (slab === undefined) return sum;
    return sum + (name === 'dentry' ? sockets * slab.bytesPerObject : slab.bytes);
  }, 0);
}

function kilobytes(text: string, name: string): number {
  const found = new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text);
  if (found === null) throw new Error(`the kernel does not tell ${name}`);
  return Number(found[1]) * 1024;
}

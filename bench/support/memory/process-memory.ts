/** Memory of processes and of the kernel's sockets, from /proc. Linux only. */
import { readFileSync } from 'node:fs';
import { parseSlabs, SOCKET_CACHES } from '../../../edge/report/slab.js';

/** Resident set size of a process. */
export function residentBytes(pid: number): number {
  return kilobytes(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'), 'Rss');
}

/** Proportional set size: a page that n processes share counts 1/n. */
export function proportionalBytes(pid: number): number {
  return kilobytes(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'), 'Pss');
}

/**
 * Kernel memory of this machine that is allocated for `sockets` sockets. A socket also has one
 * dentry; dentries are computed rather than measured, because every read below /proc makes the
 * kernel keep more of them. Without permission to read the slab caches: the whole slab memory.
 */
export function kernelBytes(sockets: number): number {
  let slabinfo: string;
  try {
    slabinfo = readFileSync('/proc/slabinfo', 'utf8');
  } catch {
    return kilobytes(readFileSync('/proc/meminfo', 'utf8'), 'Slab');
  }
  const slabs = parseSlabs(slabinfo);
  return SOCKET_CACHES.reduce((total, name) => {
    const slab = slabs.get(name);
    if (slab === undefined) return total;
    return total + (name === 'dentry' ? sockets * slab.bytesPerObject : slab.bytes);
  }, 0);
}

function kilobytes(text: string, name: string): number {
  const found = new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text);
  if (found === null) throw new Error(`the kernel does not report ${name}`);
  return Number(found[1]) * 1024;
}

/** Memory of processes and of the kernel's sockets, from /proc. Linux only. */
import { readFileSync } from 'node:fs';
import { parseSlabs, type Slab, SOCKET_CACHES } from '../../../edge/report/slab.js';

export const MIB = 1024 * 1024;

export function mib(bytes: number): number {
  return Math.round(bytes / MIB);
}

/** Resident set size of a process. */
export function residentBytes(pid: number): number {
  return kilobytes(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'), 'Rss');
}

/**
 * Resident memory that no file backs: heaps, stacks and buffers. The kernel takes pages of the
 * program away and gives them back as it likes, which is megabytes.
 */
export function anonymousBytes(pid: number): number {
  return kilobytes(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'), 'Anonymous');
}

/** The resident part of files: the program and its libraries. */
export function residentFileBytes(pid: number): number {
  return kilobytes(readFileSync(`/proc/${pid}/status`, 'utf8').replaceAll('\t', ' '), 'RssFile');
}

/** The largest resident set size that a process has had. */
export function residentBytesMax(pid: number): number {
  return kilobytes(readFileSync(`/proc/${pid}/status`, 'utf8').replaceAll('\t', ' '), 'VmHWM');
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
  const slabs = readSlabs();
  if (slabs === undefined) return kilobytes(readFileSync('/proc/meminfo', 'utf8'), 'Slab');
  return SOCKET_CACHES.reduce((total, name) => {
    const slab = slabs.get(name);
    if (slab === undefined) return total;
    return total + (name === 'dentry' ? sockets * slab.bytesPerObject : slab.bytes);
  }, 0);
}

/** The kernel's objects of one socket. 0 without permission to read the slab caches. */
export function socketObjectBytes(): number {
  const slabs = readSlabs();
  return SOCKET_CACHES.reduce((total, name) => total + (slabs?.get(name)?.bytesPerObject ?? 0), 0);
}

/** Undefined without permission. */
function readSlabs(): Map<string, Slab> | undefined {
  try {
    return parseSlabs(readFileSync('/proc/slabinfo', 'utf8'));
  } catch {
    return undefined;
  }
}

function kilobytes(text: string, name: string): number {
  const found = new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text);
  if (found === null) throw new Error(`the kernel does not report ${name}`);
  return Number(found[1]) * 1024;
}

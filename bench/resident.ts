/** What the kernel says about memory. Linux only. */
import { readFileSync } from 'node:fs';

/** Resident bytes of a process. */
export function residentBytes(pid: number): number {
  return kilobytes(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'), 'Rss');
}

/** The same, but what it shares with others is divided by how many they are. */
export function proportionalBytes(pid: number): number {
  return kilobytes(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'), 'Pss');
}

/** What only sockets and files need: the caches of the kernel's allocator, in whole pages. */
const SOCKET_CACHES = ['TCP', 'sock_inode_cache', 'filp', 'eventpoll_epi', 'ep_head'];
const PAGE_BYTES = 4096;

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
  let bytes = 0;
  for (const line of slabinfo.split('\n')) {
    // name, active and all objects, object size, objects and pages per slab, : tunables …, : slabdata,
    // active and all slabs, …
    const fields = line.split(/ +/);
    if (SOCKET_CACHES.includes(fields[0]!)) {
      bytes += Number(fields[14]) * Number(fields[5]) * PAGE_BYTES;
    } else if (fields[0] === 'dentry') {
      bytes += sockets * Number(fields[3]);
    }
  }
  return bytes;
}

function kilobytes(text: string, name: string): number {
  const found = new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text);
  if (found === null) throw new Error(`the kernel does not tell ${name}`);
  return Number(found[1]) * 1024;
}

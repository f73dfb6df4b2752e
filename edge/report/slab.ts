/**
 * Kernel memory of a connection, from /proc/slabinfo: each socket has one object in each of a few
 * caches of the kernel's slab allocator. Only root may read the file.
 */

/** Ordered by object size. */
export const SOCKET_CACHES = [
  'TCP',
  'sock_inode_cache',
  'dentry',
  'filp',
  'eventpoll_epi',
  'ep_head',
] as const;

export interface Slab {
  /** An object's share of its pages: its size, and its part of the unused rest of the pages. */
  readonly bytesPerObject: number;
  /** All pages of the cache, including those of unused objects. */
  readonly bytes: number;
}

const PAGE_BYTES = 4096;

/**
 * @param slabinfo lines of `name active all objectSize objectsPerSlab pagesPerSlab : tunables … :
 *   slabdata activeSlabs slabs …` (slabinfo(5))
 */
export function parseSlabs(slabinfo: string): Map<string, Slab> {
  const slabs = new Map<string, Slab>();
  for (const line of slabinfo.split('\n')) {
    const fields = line.split(/ +/);
    const [objectsPerSlab, pagesPerSlab] = [Number(fields[4]), Number(fields[5])];
    if (!(objectsPerSlab > 0 && pagesPerSlab > 0)) continue;
    slabs.set(fields[0]!, {
      bytesPerObject: (pagesPerSlab * PAGE_BYTES) / objectsPerSlab,
      bytes: Number(fields[14]) * pagesPerSlab * PAGE_BYTES,
    });
  }
  return slabs;
}

/**
 * Memory of all TCP buffers of the machine, and the number of sockets that share it.
 * @param sockstat contents of /proc/net/sockstat
 */
export function parseSocketBuffers(sockstat: string): { bytes: number; sockets: number } {
  const fields = /^TCP: inuse (\d+) .*\bmem (\d+)$/m.exec(sockstat);
  return { sockets: Number(fields?.[1] ?? 0), bytes: Number(fields?.[2] ?? 0) * PAGE_BYTES };
}

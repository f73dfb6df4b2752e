/** Searches the memory of a process for secrets. Linux only. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

export interface Found {
  /** In pages that a core dump contains. */
  readonly dumped: number;
  /** In pages with MADV_DONTDUMP. */
  readonly undumped: number;
}

/** A larger mapping is address space that nothing uses. */
const MAPPING_BYTES_MAX = 2 ** 30;

/** Returns how often any of the secrets occurs in writable memory. */
export function searchMemory(pid: number, secrets: readonly Buffer[]): Found {
  const found = { dumped: 0, undumped: 0 };
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    const mappings = readFileSync(`/proc/${pid}/smaps`, 'utf8').matchAll(
      /^(\w+)-(\w+) rw[\s\S]*?^VmFlags:([^\n]*)$/gm,
    );
    for (const [, start, end, flags] of mappings) {
      const [from, to] = [Number.parseInt(start!, 16), Number.parseInt(end!, 16)];
      if (to - from > MAPPING_BYTES_MAX) continue;
      const bytes = readMemory(memory, from, to - from);
      const place = / dd( |$)/.test(flags!) ? 'undumped' : 'dumped';
      for (const secret of secrets) found[place] += count(bytes, secret);
    }
    return found;
  } finally {
    closeSync(memory);
  }
}

/** Empty if the process has unmapped it meanwhile. */
function readMemory(memory: number, from: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  try {
    return bytes.subarray(0, readSync(memory, bytes, 0, length, from));
  } catch {
    return Buffer.alloc(0);
  }
}

function count(bytes: Buffer, part: Buffer): number {
  let times = 0;
  for (let at = bytes.indexOf(part); at >= 0; at = bytes.indexOf(part, at + 1)) times++;
  return times;
}

/**
 * Whether a reply of a Redis server means that the write is on disk, read from the server's settings.
 * With `appendfsync always` the reply is sent after the fsync of the append-only file
 * (flushAppendOnlyFile before replies, server.c `beforeSleep`), unless a rewrite may suspend it
 * (`no-appendfsync-on-rewrite`).
 */
import type { Redis } from 'ioredis';

/** The settings that together make a reply mean "on disk". */
const FSYNCED_SETTINGS: Readonly<Record<string, string>> = {
  appendonly: 'yes',
  appendfsync: 'always',
  'no-appendfsync-on-rewrite': 'no',
};

/** The setting because of which a reply does not mean "on disk"; undefined if there is none. */
export async function notFsyncedReason(master: Redis): Promise<string | undefined> {
  let pairs: string[];
  try {
    pairs = (await master.config('GET', ...Object.keys(FSYNCED_SETTINGS))) as string[];
  } catch (error) {
    return `its settings cannot be read: ${(error as Error).message}`;
  }
  for (const [name, required] of Object.entries(FSYNCED_SETTINGS)) {
    // A managed Redis may hide a setting: then its value is not assumed.
    const at = pairs.indexOf(name);
    const value = at < 0 ? 'not readable' : pairs[at + 1];
    if (value !== required) return `${name} is ${value}`;
  }
  return undefined;
}

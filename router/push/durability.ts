/**
 * What a Redis server makes of a write once it has answered, asked and not believed: with
 * `appendfsync always` the reply is sent after the fsync of the append-only file (flushAppendOnlyFile
 * before replies, server.c `beforeSleep`), unless a rewrite may suspend it
 * (`no-appendfsync-on-rewrite`).
 */
import type { Redis } from 'ioredis';

/** The settings that together make a reply mean "on disk". */
const FSYNCED_SETTINGS: Readonly<Record<string, string>> = {
  appendonly: 'yes',
  appendfsync: 'always',
  'no-appendfsync-on-rewrite': 'no',
};

/** Why a reply of this server does not mean that the write is on disk; undefined when it does. */
export async function notFsyncedBecause(master: Redis): Promise<string | undefined> {
  let pairs: string[];
  try {
    pairs = (await master.config('GET', ...Object.keys(FSYNCED_SETTINGS))) as string[];
  } catch (error) {
    return `its settings cannot be read: ${(error as Error).message}`;
  }
  for (const [name, wanted] of Object.entries(FSYNCED_SETTINGS)) {
    // A managed Redis may keep a setting to itself: what is not said is not believed.
    const at = pairs.indexOf(name);
    const value = at < 0 ? 'not told' : pairs[at + 1];
    if (value !== wanted) return `${name} is ${value}`;
  }
  return undefined;
}

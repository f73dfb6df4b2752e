/**
 * Whether a reply of a Redis server means that the write is on disk, read from the server's
 * settings. With `appendfsync always` the reply is sent after the fsync of the append-only file
 * (flushAppendOnlyFile before replies, server.c `beforeSleep`), unless a rewrite may suspend it
 * (`no-appendfsync-on-rewrite`).
 */
import type { Redis } from 'ioredis';
import { FSYNCED_SETTINGS, readFacts, rejectFsynced } from '../../../common/redis/requirements.js';

/** The setting because of which a reply does not mean "on disk"; undefined if there is none. */
export async function notFsyncedReason(master: Redis): Promise<string | undefined> {
  try {
    const pairs = (await master.config('GET', ...Object.keys(FSYNCED_SETTINGS))) as string[];
    return rejectFsynced(readFacts('', pairs).settings);
  } catch (error) {
    return `its settings cannot be read: ${(error as Error).message}`;
  }
}

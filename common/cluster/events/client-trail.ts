/** The newest events of one client, for operators. Reads the stream of the shard, and changes nothing. */
import type { Outcome } from '../../redis/execute.js';
import type { RedisLink } from '../../redis/redis-link.js';
import { Script } from '../../redis/script.js';
import { type StoredEvent, toEvent } from './event-reads.js';
import { eventsKey } from './event-stream.js';

/** Newest events of the shard among which those of the client are looked for: Redis waits meanwhile. */
const SCANNED_MAX = 500;
const FOUND_MAX = 50;

/**
 * Input:  KEYS stream; ARGV clientId
 * Output: {1 if the shard has events, entries of the client, newest first}
 */
const READ = new Script(`
local found = {}
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ${SCANNED_MAX})) do
  if entry[2][4] == ARGV[1] and #found < ${FOUND_MAX} then found[#found + 1] = entry end
end
return {redis.call('EXISTS', KEYS[1]), found}`);

export interface ClientTrail {
  /** The shard has events of some client: they are on. */
  readonly areKept: boolean;
  /** Oldest first. */
  readonly events: readonly StoredEvent[];
}

export function readClientTrail(
  link: Pick<RedisLink, 'execute'>,
  channel: string,
  clientId: string,
): Promise<Outcome<ClientTrail>> {
  return READ.run(link, [eventsKey(channel)], [clientId], 'text', readTrail);
}

function readTrail([exists, entries]: [number, [string, string[]][]]): ClientTrail {
  return { areKept: exists === 1, events: entries.map(toEvent).reverse() };
}

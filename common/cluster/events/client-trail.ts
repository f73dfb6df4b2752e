/**
 * The newest events of one client, for operators. Reads the stream of the shard, and changes
 * nothing.
 */
import type { Outcome } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import { type StoredEvent, toEvent } from './event-reads.js';
import { eventsKey } from './event-stream.js';

/**
 * Maximum newest events of the shard among which those of the client are looked for: Redis waits
 * meanwhile.
 */
const SCANNED_MAX = 500;
const FOUND_MAX = 50;

/**
 * Input:  KEYS stream; ARGV clientId, start of the range
 * Output: {1 if the shard has events, newest id of the range or '', entries of the client, newest
 *         first}
 */
const READ = new Script(`
local found = {}
local scanned = redis.call('XREVRANGE', KEYS[1], '+', ARGV[2], 'COUNT', ${SCANNED_MAX})
for _, entry in ipairs(scanned) do
  if entry[2][4] == ARGV[1] and #found < ${FOUND_MAX} then found[#found + 1] = entry end
end
return {redis.call('EXISTS', KEYS[1]), scanned[1] and scanned[1][1] or '', found}`);

export interface ClientTrail {
  /** The shard has events of some client: they are on. */
  readonly areKept: boolean;
  /**
   * Newest event of the shard, of any client: a later read may begin after it. Empty: there is
   * none.
   */
  readonly newestId: string;
  /** Oldest first. */
  readonly events: readonly StoredEvent[];
}

type Reply = [exists: number, newestId: string, entries: [string, string[]][]];

/** @param after only events of the shard after this one are read; empty: all */
export function readClientTrail(
  link: ScriptLink,
  channel: string,
  clientId: string,
  after: string,
): Promise<Outcome<ClientTrail>> {
  const args = [clientId, after === '' ? '-' : `(${after}`];
  return READ.run(link, [eventsKey(channel)], args, 'text', (reply: Reply) => ({
    areKept: reply[0] === 1,
    newestId: reply[1] || after,
    events: reply[2].map(toEvent).reverse(),
  }));
}

/** The counters of durable pushes per shard, which edges poll: one command per master for all shards. */
import type { Outcome } from '../../redis/execute.js';
import type { RedisLink } from '../../redis/redis-link.js';
import { counterKey } from '../inbox.js';

/**
 * In Redis Cluster, a command must not name keys of two shards (CROSSSLOT), but a script may read keys
 * that it was not called with. A slot that has just moved to another master is an error of its own
 * key only.
 * Input:  ARGV: keys of counters
 * Output: each counter; '' for one that this server does not have
 */
const READ_COUNTERS = `#!lua flags=no-writes,allow-cross-slot-keys
local counters = {}
for i, key in ipairs(ARGV) do
  local counter = redis.pcall('GET', key)
  counters[i] = type(counter) == 'table' and '' or counter or '0'
end
return counters`;

export type CountersLink = Pick<RedisLink, 'execute' | 'executeOn' | 'isCluster'> & {
  readonly subscriber: Pick<RedisLink['subscriber'], 'masterOf'>;
};

/**
 * Reads the number of durable pushes of each of these shards so far; undefined if Redis does not
 * answer.
 */
export async function readShardCounters(
  link: CountersLink,
  channels: readonly string[],
): Promise<(number | undefined)[]> {
  const keys = channels.map(counterKey);
  if (!link.isCluster) return readAll(keys, await link.execute<Reply>('mget', keys));
  const byMaster = new Map<string | undefined, number[]>();
  for (const [i, channel] of channels.entries()) {
    const master = link.subscriber.masterOf(channel);
    const indexes = byMaster.get(master);
    if (indexes === undefined) byMaster.set(master, [i]);
    else indexes.push(i);
  }
  const counters = new Array<number | undefined>(keys.length);
  await Promise.all(
    [...byMaster].map(async ([master, indexes]) => {
      if (master === undefined) return;
      const args = [READ_COUNTERS, 0, ...indexes.map((i) => keys[i]!)];
      const read = readAll(indexes, await link.executeOn<Reply>(master, 'eval', args));
      for (const [n, i] of indexes.entries()) counters[i] = read[n];
    }),
  );
  return counters;
}

type Reply = readonly (string | null)[];

function readAll(
  asked: readonly unknown[],
  outcome: Outcome<Reply> | undefined,
): (number | undefined)[] {
  return asked.map((_, i) => {
    const text = outcome?.type === 'done' ? (outcome.reply[i] ?? '0') : '';
    return text === '' ? undefined : Number(text);
  });
}

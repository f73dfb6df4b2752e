/**
 * One value of each of many shards, such as the counters of durable pushes that edges poll: one
 * command per master for all shards.
 */
import type { Outcome } from '../../redis/execute.js';
import type { RedisLink } from '../../redis/redis-link.js';
import type { ScriptLink } from '../../redis/script.js';
import { counterKey } from '../inbox.js';

/**
 * In Redis Cluster, a command must not name keys of two shards (CROSSSLOT), but a script may read
 * keys that it was not called with. A slot that has just moved to another master is an error of its
 * own key only.
 * Input:  ARGV: keys
 * Output: each value, or '0'; '' for one that this server does not have
 */
const READ_VALUES = `#!lua flags=no-writes,allow-cross-slot-keys
local values = {}
for i, key in ipairs(ARGV) do
  local value = redis.pcall('GET', key)
  values[i] = type(value) == 'table' and '' or value or '0'
end
return values`;

export type CountersLink = ScriptLink &
  Pick<RedisLink, 'executeOn' | 'isCluster'> & {
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
  const values = await readShardValues(link, channels, counterKey);
  return values.map((value) => (value === '' ? undefined : Number(value)));
}

/** Reads a key of each of these shards: '0' if there is none, '' if Redis does not answer. */
export async function readShardValues(
  link: CountersLink,
  channels: readonly string[],
  keyOf: (channel: string) => string,
): Promise<string[]> {
  const keys = channels.map(keyOf);
  if (!link.isCluster) return readAll(keys, await link.execute<Reply>('mget', keys));
  const values = new Array<string>(keys.length).fill('');
  await Promise.all(
    [...indexesByMaster(link, channels)].map(async ([master, indexes]) => {
      const args = [READ_VALUES, 0, ...indexes.map((i) => keys[i]!)];
      const read = readAll(indexes, await link.executeOn<Reply>(master, 'eval', args));
      for (const [n, i] of indexes.entries()) values[i] = read[n]!;
    }),
  );
  return values;
}

/** The indexes of the channels of each master; without those whose slot has none. */
export function indexesByMaster(
  link: Pick<CountersLink, 'subscriber'>,
  channels: readonly string[],
): Map<string, number[]> {
  const byMaster = new Map<string, number[]>();
  for (const [i, channel] of channels.entries()) {
    const master = link.subscriber.masterOf(channel);
    if (master === undefined) continue;
    const indexes = byMaster.get(master);
    if (indexes === undefined) byMaster.set(master, [i]);
    else indexes.push(i);
  }
  return byMaster;
}

type Reply = readonly (string | null)[];

function readAll(asked: readonly unknown[], outcome: Outcome<Reply> | undefined): string[] {
  return asked.map((_, i) => (outcome?.type === 'done' ? (outcome.reply[i] ?? '0') : ''));
}

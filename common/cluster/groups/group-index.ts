/**
 * The shards that have members of a group, so that a small group costs few reads. The index is in
 * the slot of the group's own shard, the hash of its name:
 *
 *   ll:{tag}:gix:<group>   string: 32 bits of version, then a bit for each shard
 *   ll:{tag}:groups        sorted set: the names of all groups with an index beside it
 *
 * Invariant: the bit of every shard with members is set, once the call that added them was
 * answered. Members are added first, and then the bit is set, with a new version. A bit is cleared
 * only if the shard was empty after the version was read, and the version is still the same.
 * Members that are added meanwhile set the bit, with another version, before or after that.
 */
import type { Outcome } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';

const VERSION_BYTES = 4;
const VERSION_BITS = 8 * VERSION_BYTES;

/**
 * Input:  KEYS index, groups; ARGV group, shards
 * Output: 1
 */
const MARK = new Script(`
local call, time = redis.call, redis.call('TIME')
for i = 2, #ARGV do call('SETBIT', KEYS[1], ${VERSION_BITS} + ARGV[i], 1) end
-- Microseconds: a group that is empty and then used again has another version than before.
local version = (time[1] * 1000000 + time[2]) % 4294967296
call('BITFIELD', KEYS[1], 'SET', 'u32', 0, string.format('%.0f', version))
call('ZADD', KEYS[2], 0, ARGV[1])
return 1`);

/**
 * Input:  KEYS index, groups; ARGV group, version, shards
 * Output: 1 if the shards are not in the index any more
 */
const CLEAR = new Script(`
local call, index = redis.call, KEYS[1]
if call('EXISTS', index) == 0 then return 1 end
if call('BITFIELD', index, 'GET', 'u32', 0)[1] ~= tonumber(ARGV[2]) then return 0 end
for i = 3, #ARGV do call('SETBIT', index, ${VERSION_BITS} + ARGV[i], 0) end
if call('BITPOS', index, 1, ${VERSION_BYTES}) < 0 then
  call('DEL', index)
  call('ZREM', KEYS[2], ARGV[1])
end
return 1`);

export interface GroupIndex {
  readonly version: number;
  /** Shards that may have members, in ascending order. */
  readonly shards: readonly number[];
}

/** @param home channel of the group's own shard */
export async function readIndex(
  link: ScriptLink,
  home: string,
  group: string,
): Promise<Outcome<GroupIndex>> {
  const outcome = await link.execute<Buffer | null>('get', [indexKey(home, group)], 'bytes');
  if (outcome.type !== 'done') return outcome;
  const bytes = outcome.reply;
  if (bytes === null || bytes.length < VERSION_BYTES) return done({ version: 0, shards: [] });
  const shards: number[] = [];
  for (const [i, byte] of bytes.subarray(VERSION_BYTES).entries()) {
    for (let bit = 0; byte !== 0 && bit < 8; bit++)
      if (byte & (0x80 >> bit)) shards.push(8 * i + bit);
  }
  return done({ version: bytes.readUInt32BE(0), shards });
}

/** To be called after members were added to these shards. */
export function markShards(
  link: ScriptLink,
  home: string,
  group: string,
  shards: readonly number[],
): Promise<Outcome<number>> {
  return MARK.run(link, keysOf(home, group), [group, ...shards], 'text', Number);
}

/**
 * Removes shards without members, unless the index has changed since `version`. That they have none
 * must have been read after the version.
 */
export function clearShards(
  link: ScriptLink,
  home: string,
  group: string,
  version: number,
  shards: readonly number[],
): Promise<Outcome<number>> {
  return CLEAR.run(link, keysOf(home, group), [group, version, ...shards], 'text', Number);
}

/** Reads up to `countMax` names of the groups whose own shard this is, after one of them or ''. */
export function readGroupNames(
  link: ScriptLink,
  home: string,
  after: string,
  countMax: number,
): Promise<Outcome<readonly string[]>> {
  const from = after === '' ? '-' : `(${after}`;
  const args = [`${home}:groups`, from, '+', 'BYLEX', 'LIMIT', 0, countMax];
  return link.execute<string[]>('zrange', args);
}

function keysOf(home: string, group: string): string[] {
  return [indexKey(home, group), `${home}:groups`];
}

function indexKey(home: string, group: string): string {
  return `${home}:gix:${group}`;
}

function done<Reply>(reply: Reply): Outcome<Reply> {
  return { type: 'done', reply };
}

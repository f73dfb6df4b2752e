/**
 * Reads the events of many shards with one command for each master, and keeps how far a group of
 * consumers has acknowledged them: `ll:{tag}:evc`, a hash by group of `<id> <number>`.
 *
 * The number of an event is its position among all that the shard's stream ever had. Redis counts
 * them, also those that were removed. So a gap between the last one acknowledged and the first one
 * that is still there is the exact number of events that the group has lost.
 */
import type { Outcome } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import { type CountersLink, indexesByMaster } from '../history/shard-counters.js';
import { SPARE_MS } from './event-stream.js';

const LUA_IS_BEFORE = `
local function parse(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms) or 0, tonumber(n) or 0
end
local function isBefore(a, b)
  local aMs, aN = parse(a)
  local bMs, bN = parse(b)
  return aMs < bMs or (aMs == bMs and aN < bN)
end
`;

/**
 * Input:  ARGV group, where it begins, events per shard, ms for which events are kept; for each
 *         shard its channel, and id and number of the last event that was read, both '' for those
 *         that the group has acknowledged
 * Output: for each shard with events, or that is read for the first time: its index, id and number
 *         of the last event before, number of the first event, the newest id, the events
 *
 * In Redis Cluster, a command must not name keys of two shards, but a script may read keys that it
 * was not called with. A slot that has just moved to another master is an error of its own shard
 * only.
 */
const READ = `#!lua flags=no-writes,allow-cross-slot-keys
${LUA_IS_BEFORE}
local call, group, start, count = redis.call, ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = call('TIME')
local oldest = string.format('%d-0', time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[4]))
local function read(channel, after, n)
  local key, isFirst = channel .. ':ev', after == ''
  if isFirst then
    after, n = string.match(call('HGET', channel .. ':evc', group) or '', '^(%S+) (%d+)$')
    if not after or isBefore(after, start) then after, n = start, nil end
  end
  local isOld = isBefore(after, oldest)
  local entries = call('XRANGE', key, '(' .. (isOld and oldest or after), '+', 'COUNT', count)
  if not entries[1] and not isFirst then return end
  if call('EXISTS', key) == 0 then return {after, '0', '1', after, entries} end
  local info, found = call('XINFO', 'STREAM', key), {}
  for i = 1, #info, 2 do found[info[i]] = info[i + 1] end
  local first = found['first-entry']
  local number
  if #entries < count then number = found['entries-added'] - #entries + 1
  elseif first[1] == entries[1][1] then number = found['entries-added'] - found['length'] + 1
  elseif n and not isOld and not isBefore(after, first[1]) then number = n + 1
  else number = found['entries-added'] - #call('XRANGE', key, entries[1][1], '+') + 1 end
  -- Events from before the group began are no loss.
  return {after, string.format('%d', n or number - 1), string.format('%d', number),
    found['last-generated-id'], entries}
end
local read_ = {}
for i = 5, #ARGV, 3 do
  local isDone, found = pcall(read, ARGV[i], ARGV[i + 1], ARGV[i + 2] ~= '' and ARGV[i + 2] or nil)
  if isDone and found then
    table.insert(found, 1, (i - 5) / 3)
    read_[#read_ + 1] = found
  end
end
return read_`;

/**
 * Moves a group forward, never back.
 * Input:  KEYS hash; ARGV group, id, number, ms to live
 * Output: 1
 */
const ACK = new Script(`${LUA_IS_BEFORE}
local known = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%S+) ')
if not known or isBefore(known, ARGV[2]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1`);

/** The last event of a shard that was read or acknowledged. */
export interface EventPosition {
  readonly id: string;
  readonly number: number;
}

export interface StoredEvent {
  readonly id: string;
  /** By name of the field; see event-stream.ts. */
  readonly fields: ReadonlyMap<string, string>;
}

/** Events of one shard. */
export interface ShardEvents {
  /** Index in the request. */
  readonly index: number;
  readonly before: EventPosition;
  /** Number of the first event, or of the next one if there is none. */
  readonly number: number;
  /** Newest id of the stream. */
  readonly newestId: string;
  readonly events: readonly StoredEvent[];
}

export interface ReadRequest {
  readonly group: string;
  /** Where the group begins: an id. */
  readonly start: string;
  /** Events of a shard. */
  readonly countMax: number;
  readonly keepMs: number;
}

type Reply = [number, string, string, string, string, [string, string[]][]][];

/** @param shards `after` undefined: after those that the group has acknowledged */
export async function readEvents(
  link: CountersLink,
  { group, start, countMax, keepMs }: ReadRequest,
  shards: readonly { readonly channel: string; readonly after: EventPosition | undefined }[],
): Promise<ShardEvents[]> {
  const channels = shards.map(({ channel }) => channel);
  const read = await Promise.all(
    [...indexesByMaster(link, channels)].map(async ([master, indexes]) => {
      const args = indexes.flatMap((i) => {
        const { channel, after } = shards[i]!;
        return [channel, after?.id ?? '', after?.number ?? ''];
      });
      const all = [READ, 0, group, start, countMax, keepMs, ...args];
      const outcome = await link.executeOn<Reply>(master, 'eval', all);
      // While Redis does not answer, the next poll reads them.
      if (outcome?.type !== 'done') return [];
      return outcome.reply.map(([i, id, before, number, newestId, entries]) => ({
        index: indexes[i]!,
        before: { id, number: Number(before) },
        number: Number(number),
        newestId,
        events: entries.map(toEvent),
      }));
    }),
  );
  return read.flat();
}

/** Acknowledges the events of a shard up to this one. */
export function ackEvents(
  link: ScriptLink,
  channel: string,
  group: string,
  { id, number }: EventPosition,
  keepMs: number,
): Promise<Outcome<number>> {
  // Later than its events, so that no event is read again because this is gone.
  const args = [group, id, number, keepMs + SPARE_MS / 2];
  return ACK.run(link, [`${channel}:evc`], args, 'text', Number);
}

/** An entry of a stream, as Redis returns it. */
export function toEvent([id, texts]: [string, string[]]): StoredEvent {
  const fields = new Map<string, string>();
  for (let i = 0; i < texts.length; i += 2) fields.set(texts[i]!, texts[i + 1]!);
  return { id, fields };
}

/**
 * Stores one push for several clients: one script appends it to the inbox of each, and publishes
 * one envelope for several shards, with a number of each. The payload travels to Redis once, and
 * once for each envelope to the edges. Each client has its own id, as if it was pushed to alone.
 *
 * The shards of an envelope have one owner, as far as the caller knows. The script sends it on the
 * channel of one of them, for all that have exactly one subscriber at that moment; each other shard
 * gets the same envelope on its own channel.
 */
import { type Outcome, outcomeOfError } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import type { EventBounds } from '../events/event-stream.js';
import { pushChecksum } from '../history/checksums.js';
import { counterKey } from '../inbox.js';
import { addKeysTo, type InboxBounds, luaBounds, luaKeep, type Stored } from './push.js';

/** Among the ids and numbers of an envelope: nothing was stored for this client, or this shard. */
export const NOT_STORED = '-';

/**
 * Input:  KEYS for each shard seq, and for each of its clients inbox, ack, and idem if there is
 *         one; ARGV payload, TTL in ms, content type, '1' if there are keys idem; for each envelope
 *         its start, number of shards, and for each shard: number of clients, checksum for each
 *         client
 * Output: for each envelope, lines: number of receivers; numbers of those shards that share a
 *         channel; for each client '<id> <older pushes dropped>', '=<first id>' for a duplicate, or
 *         '-<error>'
 * Events: an envelope as that of a single push (`push.ts`), whose id is the ids of all clients, and
 *         whose number is those of all shards, with spaces between them
 */
const pushTogetherLua = (events: EventBounds | undefined) => `${luaKeep(events)}
local payload, isKeyed = ARGV[1], ARGV[4] == '1'
setKind(ARGV[2], ARGV[3])
local keysEach = isKeyed and 3 or 2
local function withLength(text)
  local rest, length = #text, ''
  while rest >= 128 do
    length, rest = length .. char(rest % 128 + 128), math.floor(rest / 128)
  end
  return length .. char(rest) .. text
end
local function publish(channel, start, ids, numbers)
  local n = table.concat(numbers, ' ')
  return call('SPUBLISH', channel, start .. payload
    .. '\\66' .. withLength(ids) .. '\\74' .. withLength(n) .. '\\98' .. withLength(ids .. n))
end
-- Returns the receivers of all messages, and the numbers that share one.
local function publishAll(channels, start, ids, numbers)
  -- An error, where the command is forbidden, has no counts.
  local counts = channels[2] and redis.pcall('PUBSUB', 'SHARDNUMSUB', unpack(channels)) or { '', 1 }
  local none, shared, carrier, receivers = {}, {}, nil, 0
  for i = 1, #channels do none[i], shared[i] = '${NOT_STORED}', '${NOT_STORED}' end
  for i, channel in ipairs(channels) do
    if numbers[i] ~= '${NOT_STORED}' then
      if counts[2 * i] == 1 then
        shared[i], carrier = numbers[i], carrier or channel
      else
        none[i] = numbers[i]
        receivers = receivers + publish(channel, start, ids, none)
        none[i] = '${NOT_STORED}'
      end
    end
  end
  if carrier then receivers = receivers + publish(carrier, start, ids, shared) end
  return receivers, shared
end
local key, at, replies = 1, 5, {}
while key <= #KEYS do
  local start, shards = ARGV[at], tonumber(ARGV[at + 1])
  local channels, numbers, ids, lines = {}, {}, {}, {}
  at = at + 2
  for shard = 1, shards do
    local seq, stored = KEYS[key], 0
    local last = #ids + tonumber(ARGV[at])
    key, at = key + 1, at + 1
    for i = #ids + 1, last do
      local isDone, id, dropped = pcall(keep, KEYS[key], KEYS[key + 1], isKeyed and KEYS[key + 2],
        payload, ARGV[at])
      key, at = key + keysEach, at + 1
      ids[i] = '${NOT_STORED}'
      if not isDone then
        -- Redis makes a text of the errors that pcall returns.
        lines[i] = '-' .. string.gsub(tostring(id), '%c', ' ')
      elseif not dropped then
        lines[i] = '=' .. id
      else
        ids[i], lines[i], stored = id, format('%s %d', id, dropped), stored + 1
      end
    end
    if stored > 0 then countLeft(seq, 'together', stored - 1) end
    channels[shard] = string.sub(seq, 1, -5)
    numbers[shard] = stored > 0 and format('%d', call('INCR', seq)) or '${NOT_STORED}'
  end
  local receivers, shared = publishAll(channels, start, table.concat(ids, ' '), numbers)
  replies[#replies + 1] = format('%d', receivers) .. '\\n' .. table.concat(shared, ' ')
    .. '\\n' .. table.concat(lines, '\\n')
end
return replies`;

const scripts = new WeakMap<InboxBounds, Script>();

function scriptFor(bounds: InboxBounds): Script {
  let script = scripts.get(bounds);
  if (script === undefined) {
    script = new Script(luaBounds(bounds) + pushTogetherLua(bounds.events));
    scripts.set(bounds, script);
  }
  return script;
}

export interface StoreTogether {
  readonly payload: Buffer;
  readonly contentType: string;
  readonly ttlMs: number;
  /** Empty: none. */
  readonly idempotencyKey: string;
  /** All have one scope. */
  readonly messages: readonly {
    /** An encoded ShardEnvelope that ends with the payload. */
    readonly envelope: Buffer;
    readonly shards: readonly {
      readonly channel: string;
      readonly clientIds: readonly string[];
    }[];
  }[];
}

export interface StoredTogether {
  /** Subscribers that have received the envelopes, over all channels. */
  readonly receivers: number;
  /** For each client, in the order of the shards. */
  readonly outcomes: readonly Outcome<Stored>[];
  /** The number of the push in each shard that was sent beside others; NOT_STORED for the rest. */
  readonly numbers: readonly string[];
}

/** @param bounds one object for all pushes of a process: there is a script for each */
export function storeTogether(
  link: ScriptLink,
  push: StoreTogether,
  bounds: InboxBounds,
): Promise<Outcome<StoredTogether>> {
  const { payload, contentType, ttlMs, idempotencyKey, messages } = push;
  const isKeyed = idempotencyKey === '' ? '0' : '1';
  const args: (string | number | Buffer)[] = [payload, ttlMs, contentType, isKeyed];
  const keys: string[] = [];
  for (const { envelope, shards } of messages) {
    args.push(envelope.subarray(0, envelope.length - payload.length), shards.length);
    for (const { channel, clientIds } of shards) {
      keys.push(counterKey(channel));
      args.push(clientIds.length);
      for (const clientId of clientIds) {
        addKeysTo(keys, channel, clientId, idempotencyKey);
        args.push(pushChecksum(clientId, contentType, payload));
      }
    }
  }
  return scriptFor(bounds).run(link, keys, args, 'text', readReply);
}

function readReply(replies: readonly string[]): StoredTogether {
  let receivers = 0;
  const numbers: string[] = [];
  const outcomes: Outcome<Stored>[] = [];
  for (const reply of replies) {
    const [received, shared, ...lines] = reply.split('\n') as [string, string, ...string[]];
    receivers += Number(received);
    numbers.push(...shared.split(' '));
    for (const line of lines) outcomes.push(readLine(line));
  }
  return { receivers, outcomes, numbers };
}

function readLine(line: string): Outcome<Stored> {
  const rest = line.slice(1);
  if (line.startsWith('-')) return outcomeOfError(rest, true);
  if (line.startsWith('=')) return { type: 'done', reply: { type: 'duplicate', firstId: rest } };
  const [id, dropped] = line.split(' ') as [string, string];
  return { type: 'done', reply: { type: 'stored', id, receivers: 0, dropped: Number(dropped) } };
}

/**
 * Stores durable pushes: one script appends a push to the inbox of its client and publishes it.
 *
 * A push to an inbox that is in use is what a cluster does most, so the script then makes few calls:
 * one read, and four writes. What it must know of the other entries is in the field `held` of the
 * ack hash, packed by the push before (`LUA_STATE`). Parts of it may be outdated, because confirmations
 * do not update it: the inbox may have fewer entries, and later ones, than it says. That is why it
 * only ever permits what is certainly within the bounds. Before anything is dropped, and every time
 * the keys are given more time to live, the script reads the inbox itself.
 *
 * Routers and edges of the version before can be mixed with those of this one, on the same inboxes.
 */
import type { Outcome } from '../../redis/execute.js';
import type { RedisLink } from '../../redis/redis-link.js';
import { Script } from '../../redis/script.js';
import { pushChecksum } from '../history/checksums.js';
import { ackKey, counterKey, HISTORY_MS, inboxKey, LUA_STATE } from '../inbox.js';

export interface InboxBounds {
  /** Pushes per inbox; beyond it, the oldest is dropped. */
  readonly countMax: number;
  /** Payload bytes per inbox; beyond it, the oldest pushes are dropped. */
  readonly bytesMax: number;
}

/** Lifetime of an idempotency key, or the push's TTL if that is longer. */
const IDEMPOTENCY_MS = 10 * 60 * 1000;
/**
 * The keys of an inbox live longer than they must by a sixteenth of the TTL, at most this. So most
 * pushes need not give them more time to live.
 */
const SPARE_MS_MAX = 5 * 60 * 1000;

/**
 * Stores a push and publishes it.
 * Input:  KEYS seq, inbox, ack, [idem]; ARGV start of the envelope, payload, TTL in ms, checksum,
 *         content type
 * Output: '<id> <receivers> <number of older pushes dropped>'; the first id alone for a duplicate
 * Events: on the channel, the start of the envelope and the payload, with which it ends, and then
 *         fields that only this script knows: a protobuf message followed by further fields is a
 *         valid message. They are the fields 8 and 9, strings (wire type 2), so their tags are 0x42
 *         and 0x4a; and both together once more, as field 12 (0x62), because the checksum of the
 *         envelope cannot cover them.
 *
 * `countMax` and `bytesMax` come first (`scriptFor`): as arguments of each call, they would cost more.
 * Numbers are formatted with %d: as numbers in a call, Redis 7.0 would format them with %.17g.
 */
const PUSH = `${LUA_STATE}
local call, format = redis.call, string.format
local seq, inbox, ack, idem = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local payload, ttl = ARGV[2], tonumber(ARGV[3])
if idem then
  local seen = call('GET', idem)
  if seen then
    -- This is a write, so that a later WAIT also covers the first push.
    call('PEXPIRE', idem, format('%d', math.max(ttl, ${IDEMPOTENCY_MS})))
    return seen
  end
end
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expiry = now + ttl
local held, floor, due, count, renewAt, longest = unpackState(call('HGET', ack, 'held'))

local function fits(freed)
  return due > now and count < countMax and held - floor - freed + #payload <= bytesMax
end
local function entry()
  return 'p', payload, 'x', format('%d', expiry), 'b', format('%d', held), 'c', ARGV[5],
    's', format('%d', ARGV[4] + expiry + held)
end

local id
local dropped, gone = 0, false
local isRenewal = not (held and now < renewAt and ttl <= longest)
-- False if there is no inbox.
if not isRenewal and fits(0) then id = call('XADD', inbox, 'NOMKSTREAM', '*', entry()) end
if not id then
  local function number(text)
    return tonumber(text) or 0
  end
  -- The next id is newer than the newest one that Redis knows, by its clock where that is possible.
  local next = '*'
  count = call('XLEN', inbox)
  if count > 0 then
    if not held then
      local newest = call('XREVRANGE', inbox, '+', '-', 'COUNT', 1)[1]
      held = number(newest[2][6]) + #newest[2][2]
      call('HDEL', ack, 'floor', 'due')
    end
    local freed = tonumber(call('HGET', ack, 'freed'))
    local read = call('XRANGE', inbox, '-', '+', 'COUNT', 2)
    local oldest, following = read[1], read[2]
    while oldest do
      -- A corrupt entry has expired: it leaves the inbox.
      floor, due = number(oldest[2][6]), number(oldest[2][4])
      if fits(math.max(freed or 0, 0)) then break end
      call('XDEL', inbox, oldest[1])
      gone, count, dropped = oldest[1], count - 1, dropped + 1
      following = following or call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
      if freed then
        local nextFloor = floor + #oldest[2][2]
        freed = freed - ((following and number(following[2][6]) or held) - nextFloor)
        call('HSET', ack, 'freed', format('%d', freed))
      end
      oldest, following = following, nil
    end
    if not oldest then floor, due = held, expiry end
  else
    -- This push becomes the oldest.
    held, floor, due, isRenewal = 0, 0, expiry, true
    local known = call('HMGET', ack, 'last', 'apart', 'due')
    if known[3] then call('HDEL', ack, 'floor', 'due') end
    if known[1] and call('EXISTS', inbox) == 0 then
      -- The inbox has expired: no earlier push is in it.
      gone = known[1]
      local ms, n = string.match(known[1], '^(%d+)-(%d+)$')
      -- The clock was set back, or this master's is behind that of the one before it.
      if number(ms) >= now then next = format('%d-%d', ms, n + 1) end
      if known[2] then call('HDEL', ack, 'apart', 'freed') end
    end
  end
  id = call('XADD', inbox, next, entry())
end
local spare = 0
if isRenewal then
  spare = math.floor(math.min(ttl / 16, ${SPARE_MS_MAX}))
  renewAt, longest = now + spare, ttl
end
local state = packState(held + #payload, floor, due, count + 1, renewAt, longest)
if gone then
  call('HSET', ack, 'last', id, 'held', state, 'gone', gone)
else
  call('HSET', ack, 'last', id, 'held', state)
end
if isRenewal then
  -- Not shortened: an older entry may have a longer TTL than this one.
  local function extend(key, ms)
    if call('PEXPIRE', key, ms, 'NX') == 0 then call('PEXPIRE', key, ms, 'GT') end
  end
  extend(inbox, format('%d', ttl + spare))
  local historyMs = format('%d', math.max(ttl, ${HISTORY_MS}) + spare)
  if count > 0 then extend(ack, historyMs) else call('PEXPIRE', ack, historyMs) end
end
if idem then call('SET', idem, id, 'PX', format('%d', math.max(ttl, ${IDEMPOTENCY_MS}))) end
local n = format('%d', call('INCR', seq))
local receivers = call('SPUBLISH', string.sub(seq, 1, -5), ARGV[1] .. payload
  .. '\\66' .. string.char(#id) .. id .. '\\74' .. string.char(#n) .. n
  .. '\\98' .. string.char(#id + #n) .. id .. n)
return id .. ' ' .. receivers .. ' ' .. dropped`;

const scripts = new WeakMap<InboxBounds, Script>();

function scriptFor(bounds: InboxBounds): Script {
  let script = scripts.get(bounds);
  if (script === undefined) {
    const { countMax, bytesMax } = bounds;
    script = new Script(`local countMax, bytesMax = ${countMax}, ${bytesMax}${PUSH}`);
    scripts.set(bounds, script);
  }
  return script;
}

export type Stored =
  | {
      readonly type: 'stored';
      readonly id: string;
      readonly receivers: number;
      /** Older pushes of the client that were dropped for this one, or had expired. */
      readonly dropped: number;
    }
  | { readonly type: 'duplicate'; readonly firstId: string };

export interface StorePush {
  /** The channel of the client's shard. */
  readonly channel: string;
  readonly clientId: string;
  /**
   * An encoded ShardEnvelope that ends with the payload, which travels to Redis only once. Without
   * `id` and `seq`, which the script appends.
   */
  readonly envelope: Buffer;
  readonly payload: Buffer;
  readonly contentType: string;
  readonly ttlMs: number;
  /** Empty: none. */
  readonly idempotencyKey: string;
}

/** @param bounds one object for all pushes of a process: there is a script for each */
export function storePush(
  link: Pick<RedisLink, 'execute'>,
  push: StorePush,
  bounds: InboxBounds,
): Promise<Outcome<Stored>> {
  const { channel, clientId, idempotencyKey, envelope, payload, contentType, ttlMs } = push;
  const keys = [counterKey(channel), inboxKey(channel, clientId), ackKey(channel, clientId)];
  // A clientId has no control characters, so the key is unambiguous.
  if (idempotencyKey !== '') keys.push(`${channel}:idem:${clientId}\0${idempotencyKey}`);
  const beforePayload = envelope.subarray(0, envelope.length - payload.length);
  const checksum = pushChecksum(clientId, contentType, payload);
  const args = [beforePayload, payload, ttlMs, checksum, contentType];
  return scriptFor(bounds).run(link, keys, args, 'text', readStored);
}

function readStored(reply: string): Stored {
  const [id, receivers, dropped] = reply.split(' ') as [string, string?, string?];
  if (receivers === undefined) return { type: 'duplicate', firstId: id };
  return { type: 'stored', id, receivers: Number(receivers), dropped: Number(dropped) };
}

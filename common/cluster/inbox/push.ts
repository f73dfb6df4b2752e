/**
 * Stores durable pushes: one script appends a push to the inbox of its client and publishes it.
 *
 * A push to an inbox that is in use is what a cluster does most, so the script then makes few
 * calls: one read, and four writes. What it must know of the other entries is in the field `held`
 * of the ack hash, packed by the push before (`LUA_STATE`). Parts of it may be outdated, because
 * confirmations do not update it: the inbox may have fewer entries, and later ones, than it says.
 * That is why it only ever permits what is certainly within the bounds. Before anything is dropped,
 * and every time the keys are given more time to live, the script reads the inbox itself.
 *
 * Routers and edges of the version before can be mixed with those of this one, on the same inboxes.
 */
import type { Outcome } from '../../redis/execute.js';
import {
  ID_FLOOR,
  IS_FLOOR_RAISED,
  LUA_ITEMS,
  Script,
  type ScriptLink,
} from '../../redis/script.js';
import type { EventBounds } from '../events/event-stream.js';
import { luaStored } from '../events/push-events.js';
import { pushChecksum } from '../history/checksums.js';
import { ackKey, counterKey, HISTORY_MS, inboxKey, LUA_STATE } from '../inbox.js';
import { LUA_COUNT_LEFT, UNCOUNTED_AFTER_MS } from '../ledger/left.js';
import { type Combination, type CombinationError, luaCombine } from './combine.js';

export interface InboxBounds {
  /** Pushes per inbox; beyond it, the oldest is dropped. */
  readonly countMax: number;
  /** Payload bytes per inbox; beyond it, the oldest pushes are dropped. */
  readonly bytesMax: number;
  /** Undefined: no events of pushes are written. */
  readonly events?: EventBounds | undefined;
}

/** Lifetime of an idempotency key, or the push's TTL if that is longer. */
const IDEMPOTENCY_MS = 10 * 60 * 1000;
/**
 * The keys of an inbox live longer than they must by a sixteenth of the TTL, at most this. So most
 * pushes need not give them more time to live.
 */
const SPARE_MS_MAX = 5 * 60 * 1000;
/** A push removes so many expired entries at most, unless it needs the room: the audit has time. */
const EXPIRED_MAX = 8;
/** Entries of an inbox that are read at a time at most, when many have expired: it copies them. */
const READ_MAX = 32;

/**
 * Lua function `keep` that stores a push.
 * Input:  the keys inbox, ack, and idem or nil; payload, checksum; of a part of a growing message
 *         also its offset and what follows that in the field `a`; before, `setKind` has been called
 *         with TTL in ms and content type
 * Output: id and number of older pushes dropped; the first id alone for a duplicate
 *
 * `countMax` and `bytesMax` come first (`luaBounds`): as arguments of each call, they would cost
 * more. Numbers are formatted with %d: as numbers in a call, Redis 7.0 would format them with
 * %.17g, and Lua those that it joins to a text with %.14g.
 */
export const luaKeep = (events: EventBounds | undefined) => `${LUA_STATE}${LUA_COUNT_LEFT}
local call, format, char = redis.call, string.format, string.char
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
${events === undefined ? '' : luaStored(events)}
local function number(text)
  return tonumber(text) or 0
end
local function fits(count, bytes)
  return count < countMax and bytes <= bytesMax
end
-- Most pushes of a script have these in common.
local ttl, contentType, expiry, expiryText
local function setKind(ttlText, type)
  ttl, contentType = tonumber(ttlText), type
  expiry = now + ttl
  expiryText = format('%d', expiry)
end
local function entry(payload, held, checksum, part)
  local sum = format('%d', checksum + expiry + held)
  if part then
    return 'p', payload, 'x', expiryText, 'b', format('%d', held), 'c', contentType, 's', sum, 'a', part
  end
  return 'p', payload, 'x', expiryText, 'b', format('%d', held), 'c', contentType, 's', sum
end

-- Drops entries that have expired, at most so many, and the oldest ones until a push of this size
-- fits.
local function makeRoom(inbox, ack, held, count, bytes, expiredMax)
  if not held then
    local newest = call('XREVRANGE', inbox, '+', '-', 'COUNT', 1)[1]
    held = number(newest[2][6]) + #newest[2][2]
    call('HDEL', ack, 'floor', 'due')
  end
  local floor, due, gone
  local dropped, expired = 0, 0
  local freed = tonumber(call('HGET', ack, 'freed'))
  local read, at, size = call('XRANGE', inbox, '-', '+', 'COUNT', 2), 1, 2
  local oldest = read[1]
  while oldest do
    -- A corrupt entry has expired: it leaves the inbox.
    floor, due = number(oldest[2][6]), number(oldest[2][4])
    local isKept = due > now or expired >= expiredMax
    if isKept and fits(count, held - floor - math.max(freed or 0, 0) + bytes) then break end
    if due <= now then expired = expired + 1 end
${events === undefined ? '' : "    left(inbox, oldest[1], due <= now and 'expired' or 'inbox_full')"}
    gone, count, dropped, at = oldest[1], count - 1, dropped + 1, at + 1
    if at > size then
      size = math.min(2 * size, ${READ_MAX})
      read, at = call('XRANGE', inbox, '(' .. gone, '+', 'COUNT', size), 1
    end
    local following = read[at]
    if freed then
      local nextFloor = floor + #oldest[2][2]
      freed = freed - ((following and number(following[2][6]) or held) - nextFloor)
    end
    oldest = following
  end
  if dropped > 0 then
    call('XTRIM', inbox, 'MAXLEN', count)
    countLeft(inbox, 'expired', expired)
    countLeft(inbox, 'evicted', dropped - expired)
    if freed then call('HSET', ack, 'freed', format('%d', freed)) end
  end
  if not oldest then floor, due = held, nil end
  return held, floor, due, count, gone, dropped
end

-- Before the first push of an inbox without entries. Returns its id for XADD, and the newest id
-- that left the inbox unconfirmed, if one did.
local function begin(inbox, ack)
  local next, gone = '*', nil
  local known = call('HMGET', ack, 'last', 'apart', 'due')
  if known[3] then call('HDEL', ack, 'floor', 'due') end
  if known[1] and call('EXISTS', inbox) == 0 then
    -- The inbox has expired: no earlier push is in it.
    gone = known[1]
    -- The next id is newer than the newest one that Redis knows, by its clock where that is
    -- possible.
    local ms, n = string.match(gone, '^(%d+)-(%d+)$')
    -- The clock was set back, or this master's is behind that of the one before it.
    if number(ms) >= now then next = format('%d-%d', ms, n + 1) end
    if known[2] then call('HDEL', ack, 'apart', 'freed', 'replaced') end
  end
  return next, gone
end

-- Not shortened: an older entry may have a longer TTL than this one.
local function extend(key, ms)
  if call('PEXPIRE', key, ms, 'NX') == 0 then call('PEXPIRE', key, ms, 'GT') end
end

local function keep(inbox, ack, idem, payload, checksum, offset, name)
  if idem then
    local seen = call('GET', idem)
    if seen then
      -- This is a write, so that a later WAIT also covers the first push.
      call('PEXPIRE', idem, format('%d', math.max(ttl, ${IDEMPOTENCY_MS})))
      return seen
    end
  end
  local part = offset and offset .. ' ' .. name
  local held, floor, due, count, renewAt, longest = unpackState(call('HGET', ack, 'held'))
  local isListed = held
  local isRenewal = not (held and now < renewAt and ttl <= longest)
  local id, gone
  local dropped = 0
  -- Entries that have expired count until a renewal or the audit removes many of them at once.
  if not isRenewal and fits(count, held - floor + #payload) then
    -- False if there is no inbox.
    id = call('XADD', inbox, 'NOMKSTREAM', '*', entry(payload, held, checksum, part))
  end
  if not id then
    local next = '*'
    count = call('XLEN', inbox)
    if count > 0 then
      held, floor, due, count, gone, dropped = makeRoom(inbox, ack, held, count, #payload, ${EXPIRED_MAX})
      due = due or expiry
    else
      -- This push becomes the oldest.
      held, floor, due, isRenewal = 0, 0, expiry, true
      next, gone = begin(inbox, ack)
      isListed = isListed and not gone
    end
    id = call('XADD', inbox, next, entry(payload, held, checksum, part))
  end
  if now < ${ID_FLOOR} and (${IS_FLOOR_RAISED} or count == 0)
    and number(string.match(id, '^%d+')) < ${ID_FLOOR} then
    call('XDEL', inbox, id)
    id = call('XADD', inbox, format('%d-0', ${ID_FLOOR}), entry(payload, held, checksum, part))
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
    extend(inbox, format('%d', ttl + spare + ${UNCOUNTED_AFTER_MS}))
    if not isListed then
      -- The clientId follows \`:in:\`.
      local at = string.find(inbox, '}', 1, true)
      call('ZADD', string.sub(inbox, 1, at) .. ':wait', 'NX', format('%d', due),
        string.sub(inbox, at + 5))
    end
    local historyMs = format('%d', math.max(ttl, ${HISTORY_MS}) + spare)
    if count > 0 then extend(ack, historyMs) else call('PEXPIRE', ack, historyMs) end
  end
  if idem then call('SET', idem, id, 'PX', format('%d', math.max(ttl, ${IDEMPOTENCY_MS}))) end
${events === undefined ? '' : '  stored(inbox, id, ttl, isRenewal)'}
  return id, dropped
end
`;

/**
 * Lua function `store` that stores a push and publishes it.
 * Input:  the keys seq, inbox, ack, and idem or nil; start of the envelope, payload, checksum; the
 *         rest as for `keep`
 * Output: '<id> <receivers> <number of older pushes dropped>'; the first id alone for a duplicate
 * Events: on the channel, the start of the envelope and the payload, with which it ends, and then
 *         fields that only this script knows: a protobuf message followed by further fields is a
 *         valid message. They are the fields 8 and 9, strings (wire type 2), so their tags are 0x42
 *         and 0x4a; of a part of a growing message its offset, field 13 (0x6a); and all of them
 *         together once more, as field 12 (0x62), because the checksum of the envelope cannot cover
 *         them.
 */
const luaStore = (events: EventBounds | undefined) => `${luaKeep(events)}
local function store(seq, inbox, ack, idem, start, payload, checksum, offset, name)
  local id, dropped = keep(inbox, ack, idem, payload, checksum, offset, name)
  if not dropped then return id end
  local n = format('%d', call('INCR', seq))
  local offsetField = ''
  if offset then offsetField = '\\106' .. char(#offset) .. offset else offset = '' end
  local receivers = call('SPUBLISH', string.sub(seq, 1, -5), start .. payload
    .. '\\66' .. char(#id) .. id .. '\\74' .. char(#n) .. n .. offsetField
    .. '\\98' .. char(#id + #n + #offset) .. id .. n .. offset)
  if receivers == 1 and dropped == 0 then return id .. ' 1 0' end
  return format('%s %d %d', id, receivers, dropped)
end
`;

/**
 * Stores pushes, in their order. One script for one and for several: with two, a Redis that does
 * not know one of them would store a later push first.
 * Input:  the keys of each push; the kinds of all, a digit for each: the sum of 1 if it has the key
 *         idem, 2 if it is combined with earlier ones (combine.ts), and 4 if TTL and content type
 *         are those of the push before; then the arguments of each push
 * Output: the line of each push
 *
 * One alone is stored without the loop: in a Redis Cluster, most are alone.
 */
const pushLua = (events: EventBounds | undefined) => `${luaStore(events)}
local keys, args = KEYS, ARGV
local storeCombined
local key, arg = 1, 2
local function storeNext(i)
  local kind = string.byte(args[1], i) - 48
  local firstKey, first = key, arg
  key, arg = key + 3, arg + 3
  if kind < 4 then
    setKind(args[arg], args[arg + 1])
    arg = arg + 2
  end
${events === undefined ? '' : '  unreadAfterMs, arg = args[arg], arg + 1'}
  local idem
  if kind % 2 == 1 then idem, key = keys[key], key + 1 end
  if kind % 4 < 2 then
    return store(keys[firstKey], keys[firstKey + 1], keys[firstKey + 2], idem,
      args[first], args[first + 1], args[first + 2])
  end
  key, arg = key + 1, arg + 2
  if not storeCombined then
    ${luaCombine(events !== undefined)}
  end
  return storeCombined(keys[firstKey], keys[firstKey + 1], keys[firstKey + 2], idem, keys[key - 1],
    args[first], args[first + 1], args[first + 2], args[arg - 2], args[arg - 1])
end
if #args[1] == 1 then return storeNext(1) end
${LUA_ITEMS}
return each(#args[1], storeNext)`;

export function luaBounds({ countMax, bytesMax }: InboxBounds): string {
  return `local countMax, bytesMax = ${countMax}, ${bytesMax}`;
}

const scripts = new WeakMap<InboxBounds, Script>();

function scriptFor(bounds: InboxBounds): Script {
  let script = scripts.get(bounds);
  if (script === undefined) {
    script = new Script(luaBounds(bounds) + pushLua(bounds.events));
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
      /** The push that this one has replaced, if there was one. */
      readonly replacedId?: string | undefined;
    }
  | { readonly type: 'duplicate'; readonly firstId: string }
  /** The push cannot be combined with earlier ones; nothing was stored. */
  | { readonly type: 'invalid'; readonly code: CombinationError };

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
  readonly combination?: Combination | undefined;
  /** After this time, an event says that it is unread, with bounds that have `events`; 0: none. */
  readonly notifyUnreadAfterMs?: number;
}

type Argument = string | number | Buffer;

/** @param bounds one object for all pushes of a process: there is a script for each */
export function storePush(
  link: ScriptLink,
  push: StorePush,
  bounds: InboxBounds,
): Promise<Outcome<Stored>> {
  const { keys, args } = parametersOf([push], bounds);
  return scriptFor(bounds).run(link, keys, args, 'text', readStored);
}

/**
 * Stores pushes in their order, with one script. Resolves with an outcome for each.
 * @param pushes of one scope
 * @param bounds as above
 */
export async function storePushes(
  link: ScriptLink,
  pushes: readonly StorePush[],
  bounds: InboxBounds,
): Promise<readonly Outcome<Stored>[]> {
  if (pushes.length === 1) return [await storePush(link, pushes[0]!, bounds)];
  const { keys, args } = parametersOf(pushes, bounds);
  return scriptFor(bounds).runEach(link, pushes.length, keys, args, readStored);
}

function parametersOf(pushes: readonly StorePush[], { events }: InboxBounds) {
  const keys: string[] = [];
  const args: Argument[] = [''];
  let kinds = '';
  let before: StorePush | undefined;
  for (const push of pushes) {
    const { channel, clientId, envelope, payload, idempotencyKey, combination } = push;
    const { ttlMs, contentType } = push;
    const isSame = ttlMs === before?.ttlMs && contentType === before.contentType;
    const isKeyed = idempotencyKey !== '';
    kinds += (isKeyed ? 1 : 0) + (combination === undefined ? 0 : 2) + (isSame ? 4 : 0);
    keys.push(counterKey(channel));
    addKeysTo(keys, channel, clientId, idempotencyKey);
    const start = envelope.subarray(0, envelope.length - payload.length);
    args.push(start, payload, checksumOf(push));
    if (!isSame) args.push(ttlMs, contentType);
    if (events !== undefined) args.push(push.notifyUnreadAfterMs ?? 0);
    if (combination !== undefined) {
      keys.push(`${channel}:keys:${clientId}`);
      args.push(kindOf(combination), combination.key);
    }
    before = push;
  }
  args[0] = kinds;
  return { keys, args };
}

function checksumOf({ clientId, contentType, payload, combination }: StorePush): number {
  const isPart = combination?.type === 'append';
  const name = isPart ? `${kindOf(combination)}${combination.key}` : undefined;
  return pushChecksum(clientId, contentType, payload, name);
}

function kindOf(combination: Combination): string {
  if (combination.type === 'collapse') return 'c';
  return combination.isEnd ? 'e' : 'a';
}

/** Adds the keys of `keep`. */
export function addKeysTo(
  keys: string[],
  channel: string,
  clientId: string,
  idempotencyKey: string,
): void {
  keys.push(inboxKey(channel, clientId), ackKey(channel, clientId));
  // A clientId has no control characters, so the key is unambiguous.
  if (idempotencyKey !== '') keys.push(`${channel}:idem:${clientId}\0${idempotencyKey}`);
}

function readStored(line: string): Stored {
  if (line.startsWith('!')) return { type: 'invalid', code: line.slice(1) as CombinationError };
  const [id, receivers, dropped, replacedId] = line.split(' ') as [string, ...string[]];
  if (receivers === undefined) return { type: 'duplicate', firstId: id };
  return { type: 'stored', id, receivers: Number(receivers), dropped: Number(dropped), replacedId };
}

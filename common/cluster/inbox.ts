/**
 * The inbox in Redis: the durable pushes of a client, stored until they are confirmed or expire.
 *
 * Keys of one client, all in the slot of its shard's tag. They start with the shard's channel
 * (`ll:{tag}`, after the prefix of the cluster), which the functions below take in place of the tag:
 *
 *   ll:{tag}:seq             counter: durable pushes of the shard so far
 *   ll:{tag}:in:<clientId>   stream: one entry per push, oldest first. Fields, in this order:
 *                            p payload · x expiry, Unix time in ms · b total payload bytes of all
 *                            earlier entries, deleted ones included (so the first and last entry
 *                            give the bytes stored now) · c content type, may be empty · s sum
 *                            of a checksum, `x` and `b` (checksums.ts). Earlier versions wrote no
 *                            `s`, and no empty `c`
 *   ll:{tag}:ack:<clientId>  hash of ids: `last` the newest ever assigned for this client · `acked`
 *                            the newest confirmed · `gone` the newest that left the inbox
 *                            unconfirmed. It outlives the inbox, so that a device that connects
 *                            after a quiet day learns that it missed nothing. While the inbox is
 *                            not empty, it also has what a push would otherwise read from other
 *                            entries: `held` the next entry's `b` · `floor` and `due` the oldest
 *                            entry's `b` and `x`; without `due`, the oldest entry must be read.
 *                            After pushes were confirmed before an older one: `apart` the newest
 *                            of them · `freed` payload bytes of those after the oldest entry. After
 *                            newest pushes were lost: `told` the position of the mark of which
 *                            the client was told
 *   ll:{tag}:lost            string: the mark of a shard that has lost stored pushes (lost-history.ts)
 *   ll:{tag}:idem:<clientId>\0<key>   string: the id of the client's push with this key
 *
 * Confirmed entries are deleted, so an inbox contains exactly the unconfirmed pushes. `acked` says
 * that everything up to it is confirmed; a push that is confirmed alone, before an older one, is just
 * deleted. The history after a cursor is complete if the cursor is an entry or one of `last`,
 * `acked`, `gone` and `apart` (any other id is another client's, or older than the newest confirmed),
 * and no later push is gone.
 *
 * Every change of an inbox is one script, so no push is stored without being published.
 */
import type { Outcome } from '../redis/execute.js';
import type { RedisLink } from '../redis/redis-link.js';
import { Script } from '../redis/script.js';
import { pushChecksum } from './history/checksums.js';

export interface InboxBounds {
  /** Pushes per inbox; beyond it, the oldest is dropped. */
  readonly countMax: number;
  /** Payload bytes per inbox; beyond it, the oldest pushes are dropped. */
  readonly bytesMax: number;
}

/** Lifetime of an idempotency key, or the push's TTL if that is longer. */
const IDEMPOTENCY_MS = 10 * 60 * 1000;
/** Lifetime of the `ack` hash after the newest push, or the push's TTL if that is longer. */
export const HISTORY_MS = 24 * 60 * 60 * 1000;

/** A new mark (lost-history.ts) is a minute old, so that later pushes are newer by any clock. */
export const MARK_AGE_MS = 60_000;

/** Lua helpers at the start of the scripts. */
export const LUA_COMMON = `
local function parse(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms) or 0, tonumber(n) or 0
end
local function isBefore(a, b)
  local aMs, aN = parse(a)
  local bMs, bN = parse(b)
  return aMs < bMs or (aMs == bMs and aN < bN)
end
local function nowMs()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function first(inbox)
  return redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
end
-- A stored number; 0 for one that is corrupt.
local function number(text)
  return tonumber(text) or 0
end
-- The position of the shard's mark; false if no stored push of the shard was lost.
local function readMark(key)
  local mark = redis.call('GET', key)
  return mark and string.match(mark, '^%S+')
end
-- The position of a mark which says that the newest pushes of the shard were lost, perhaps some after
-- the id, unless the client was told so; false if there is none. What is evicted, in contrast, is a
-- whole inbox, of which no id is known.
local function untoldMark(ack, key, id)
  local at = string.match(redis.call('GET', key) or '', '^(%S+) counter:')
  if not at or parse(id) > parse(at) + ${MARK_AGE_MS} then return false end
  return redis.call('HGET', ack, 'told') ~= at and at
end
local function confirm(inbox, ack, id)
  redis.call('HSET', ack, 'acked', id)
  redis.call('HDEL', ack, 'due')
  local ms, n = parse(id)
  redis.call('XTRIM', inbox, 'MINID', string.format('%.0f-%.0f', ms, n + 1))
end
`;

/**
 * Lua helper of the scripts that confirm. It brings the ack hash up to date after entries between
 * others were deleted: `apart` is the newest of them. It reads only entries that are older.
 */
export const LUA_SETTLE = `
local function settle(inbox, ack, apart)
  redis.call('HDEL', ack, 'due')
  local known = redis.call('HMGET', ack, 'acked', 'gone', 'held')
  local acked, gone, held = known[1], known[2], known[3]
  local older = redis.call('XRANGE', inbox, '-', apart)
  if not older[1] then
    redis.call('HDEL', ack, 'freed')
    if not acked or isBefore(acked, apart) then
      -- Everything up to this id is confirmed, unless a push has left the inbox unconfirmed.
      if gone and (not acked or isBefore(acked, gone)) then
        redis.call('HSET', ack, 'apart', apart)
        return
      end
      redis.call('HSET', ack, 'acked', apart)
    end
    redis.call('HDEL', ack, 'apart')
    return
  end
  local ms, n = parse(apart)
  local newer = redis.call('XRANGE', inbox, string.format('%.0f-%.0f', ms, n + 1), '+', 'COUNT', 1)[1]
  local freed = number(newer and newer[2][6] or held) - number(older[1][2][6])
  for _, entry in ipairs(older) do freed = freed - #entry[2][2] end
  redis.call('HSET', ack, 'apart', apart, 'freed', string.format('%.0f', freed))
end
`;

/**
 * Stores a push and publishes it.
 * Input:  KEYS seq, inbox, ack, [idem]; ARGV channel, envelope, payload, TTL in ms, count bound,
 *         bytes bound, history in ms, idempotency in ms, content type, checksum
 * Output: {1, id, receivers, number of older pushes dropped}; {0, first id} for a duplicate
 * Events: the envelope on the channel, with fields appended that only this script knows: a
 *         protobuf message followed by further fields is a valid message. They are the fields 8 and
 *         9, strings (wire type 2), so their tags are 0x42 and 0x4a; and both together once more, as
 *         field 12 (0x62), because the checksum of the envelope cannot cover them.
 */
const PUSH = new Script(`${LUA_COMMON}
local seq, inbox, ack, idem = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local payload, ttl = ARGV[3], tonumber(ARGV[4])
if idem then
  local seen = redis.call('GET', idem)
  if seen then
    -- This is a write, so that a later WAIT also covers the first push.
    redis.call('PEXPIRE', idem, ARGV[8])
    return {0, seen}
  end
end
local now = nowMs()
local count, dropped, isNew = redis.call('XLEN', inbox), 0, false
-- The next id is newer than the newest one that Redis knows, by its clock where that is possible.
local next = '*'
-- Values for an empty inbox, of which this push becomes the oldest.
local held, floor, due, freed = 0, 0, now + ttl, false
if count > 0 then
  local known = redis.call('HMGET', ack, 'held', 'floor', 'due', 'freed')
  held, floor, due, freed = tonumber(known[1]), number(known[2]), tonumber(known[3]), tonumber(known[4])
  if not held then
    local newest = redis.call('XREVRANGE', inbox, '+', '-', 'COUNT', 1)[1]
    held, due = number(newest[2][6]) + #newest[2][2], nil
  end
  while not due or due <= now or count >= tonumber(ARGV[5])
      or held - floor - (freed or 0) + #payload > tonumber(ARGV[6]) do
    local oldest = first(inbox)
    if due then
      local nextFloor = number(oldest[2][6]) + #oldest[2][2]
      redis.call('XDEL', inbox, oldest[1])
      redis.call('HSET', ack, 'gone', oldest[1])
      count, dropped = count - 1, dropped + 1
      oldest = first(inbox)
      if freed then
        freed = freed - ((oldest and number(oldest[2][6]) or held) - nextFloor)
        redis.call('HSET', ack, 'freed', string.format('%.0f', freed))
      end
    end
    if not oldest then
      floor, due = held, now + ttl
      break
    end
    -- A corrupt entry has expired: it leaves the inbox.
    floor, due = number(oldest[2][6]), number(oldest[2][4])
  end
elseif redis.call('EXISTS', inbox) == 0 then
  -- The inbox expired or never existed: no earlier push is in it.
  isNew = true
  local known = redis.call('HMGET', ack, 'last', 'apart')
  if known[1] then
    redis.call('HSET', ack, 'gone', known[1])
    local ms, n = parse(known[1])
    -- The clock was set back, or this master's is behind that of the one before it.
    if ms >= now then next = string.format('%.0f-%.0f', ms, n + 1) end
  end
  if known[2] then redis.call('HDEL', ack, 'apart', 'freed') end
end
local expiry = now + ttl
local id = redis.call('XADD', inbox, next, 'p', payload, 'x', expiry, 'b', held, 'c', ARGV[9],
  's', string.format('%.0f', ARGV[10] + expiry + held))
redis.call('PEXPIRE', inbox, ARGV[4], isNew and 'NX' or 'GT')
redis.call('HSET', ack, 'last', id, 'held', held + #payload, 'floor', floor, 'due', due)
if count > 0 then
  -- Not shortened: an older entry may have a longer TTL than this one.
  redis.call('PEXPIRE', ack, ARGV[7], 'GT')
else
  redis.call('PEXPIRE', ack, ARGV[7])
end
if idem then redis.call('SET', idem, id, 'PX', ARGV[8]) end
local n = string.format('%.0f', redis.call('INCR', seq))
local stored = '\\66' .. string.char(#id) .. id .. '\\74' .. string.char(#n) .. n
  .. '\\98' .. string.char(#id + #n) .. id .. n
local receivers = redis.call('SPUBLISH', ARGV[1], ARGV[2] .. stored)
return {1, id, receivers, dropped}`);

/**
 * Resumes after a device's cursor: confirms and deletes everything up to it.
 * Input:  KEYS inbox, ack, mark; ARGV cursor
 * Output: 1 if the history after the cursor is complete, else 0
 */
const RESUME = new Script(`${LUA_COMMON}${LUA_SETTLE}
local inbox, ack, cursor = KEYS[1], KEYS[2], ARGV[1]
local known = redis.call('HMGET', ack, 'last', 'acked', 'gone', 'apart')
local last, acked, gone, apart = known[1], known[2], known[3], known[4]
local isMark = cursor == readMark(KEYS[3])
if not last then return isMark and 1 or 0 end
if redis.call('EXISTS', inbox) == 0 then gone = last end
local isKnown = cursor == last or cursor == acked or cursor == gone or cursor == apart
  or (isMark and not (acked and isBefore(cursor, acked)))
  or redis.call('XRANGE', inbox, cursor, cursor)[1]
if not isKnown or (gone and isBefore(cursor, gone)) then return 0 end
if not isMark and untoldMark(ack, KEYS[3], cursor) then return 0 end
confirm(inbox, ack, cursor)
if apart then settle(inbox, ack, apart) end
return 1`);

/**
 * Confirms and deletes everything up to an id that the device received, and single later pushes.
 * Input:  KEYS inbox, ack; ARGV id or '', single ids
 * Output: 1; 0 if all of it was confirmed already, or if Redis has lost the pushes
 */
const CONFIRM = new Script(`${LUA_COMMON}${LUA_SETTLE}
local inbox, ack, id = KEYS[1], KEYS[2], ARGV[1]
local known = redis.call('HMGET', ack, 'last', 'acked', 'apart')
local last, acked, apart = known[1], known[2], known[3]
if not last then return 0 end
local changed = 0
if id ~= '' and not isBefore(last, id) and not (acked and not isBefore(acked, id)) then
  confirm(inbox, ack, id)
  changed = 1
end
for i = 2, #ARGV do
  if redis.call('XDEL', inbox, ARGV[i]) == 1 then
    changed = 1
    if not apart or isBefore(apart, ARGV[i]) then apart = ARGV[i] end
  end
end
if apart and changed == 1 then settle(inbox, ack, apart) end
return changed`);

/**
 * Whether a push, not newer than `apart`, was confirmed before an older one: it is not in the inbox
 * and has not left it unconfirmed.
 * Input:  KEYS inbox, ack; ARGV id
 * Output: 1 or 0
 */
const IS_CONFIRMED_APART = new Script(`${LUA_COMMON}
local inbox, ack, id = KEYS[1], KEYS[2], ARGV[1]
local gone = redis.call('HGET', ack, 'gone')
if redis.call('EXISTS', inbox) == 0 or (gone and not isBefore(gone, id)) then return 0 end
return redis.call('XRANGE', inbox, id, id)[1] and 0 or 1`);

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
  /** An encoded ShardEnvelope without `id` and `seq`, which the script appends. */
  readonly envelope: Uint8Array;
  readonly payload: Buffer;
  readonly contentType: string;
  readonly ttlMs: number;
  /** Empty: none. */
  readonly idempotencyKey: string;
}

export function storePush(
  link: Pick<RedisLink, 'execute'>,
  push: StorePush,
  bounds: InboxBounds,
): Promise<Outcome<Stored>> {
  const { channel, clientId, idempotencyKey, envelope } = push;
  const keys = [counterKey(channel), inboxKey(channel, clientId), ackKey(channel, clientId)];
  // A clientId has no control characters, so the key is unambiguous.
  if (idempotencyKey !== '') keys.push(`${channel}:idem:${clientId}\0${idempotencyKey}`);
  return PUSH.run(
    link,
    keys,
    [
      channel,
      Buffer.from(envelope.buffer, envelope.byteOffset, envelope.length),
      push.payload,
      push.ttlMs,
      bounds.countMax,
      bounds.bytesMax,
      Math.max(push.ttlMs, HISTORY_MS),
      Math.max(push.ttlMs, IDEMPOTENCY_MS),
      push.contentType,
      pushChecksum(clientId, push.contentType, push.payload),
    ],
    'text',
    readStored,
  );
}

function readStored(reply: [1, string, number, number] | [0, string]): Stored {
  if (reply[0] === 0) return { type: 'duplicate', firstId: reply[1] };
  const [, id, receivers, dropped] = reply;
  return { type: 'stored', id, receivers, dropped };
}

const ID = /^\d{1,15}-\d{1,15}$/;

/** Whether a text has the form of a message id: ids from devices are checked before their use. */
export function isMessageId(text: string): boolean {
  return ID.test(text);
}

/**
 * Confirms everything up to `cursor`, a message id. Resolves with whether the history after it is
 * complete.
 */
export function resumeInbox(
  link: Pick<RedisLink, 'execute'>,
  channel: string,
  clientId: string,
  cursor: string,
): Promise<Outcome<boolean>> {
  const keys = [inboxKey(channel, clientId), ackKey(channel, clientId), markKey(channel)];
  return RESUME.run(link, keys, [cursor], 'text', (reply: number) => reply === 1);
}

/**
 * Confirms everything up to `id`, and the pushes `singles`, which were all sent to the client.
 * Resolves with 1, or 0 if no change.
 * @param id '': only the single pushes
 */
export function confirmInbox(
  link: Pick<RedisLink, 'execute'>,
  channel: string,
  clientId: string,
  id: string,
  singles: readonly string[] = [],
): Promise<Outcome<number>> {
  const keys = [inboxKey(channel, clientId), ackKey(channel, clientId)];
  return CONFIRM.run(link, keys, [id, ...singles], 'text', (confirmed: number) => confirmed);
}

/** Reads the newest id ever assigned for the client, or ''. */
export async function readNewestId(
  link: Pick<RedisLink, 'execute'>,
  channel: string,
  clientId: string,
): Promise<Outcome<string>> {
  const outcome = await link.execute<string | null>('hget', [ackKey(channel, clientId), 'last']);
  return outcome.type === 'done' ? { type: 'done', reply: outcome.reply ?? '' } : outcome;
}

/**
 * Whether the client has confirmed `id`, alone or with everything up to a later id. False if Redis
 * does not answer.
 */
export async function isAcked(
  link: Pick<RedisLink, 'execute'>,
  channel: string,
  clientId: string,
  id: string,
): Promise<boolean> {
  const key = ackKey(channel, clientId);
  const read = await link.execute<(string | null)[]>('hmget', [key, 'acked', 'apart']);
  if (read.type !== 'done') return false;
  const [acked, apart] = read.reply;
  if (typeof acked === 'string' && !isIdBefore(acked, id)) return true;
  if (typeof apart !== 'string' || isIdBefore(apart, id)) return false;
  const keys = [inboxKey(channel, clientId), key];
  const outcome = await IS_CONFIRMED_APART.run(link, keys, [id], 'text', Number);
  return outcome.type === 'done' && outcome.reply === 1;
}

export function isIdBefore(a: string, b: string): boolean {
  const [aMs, aN] = parseMessageId(a);
  const [bMs, bN] = parseMessageId(b);
  return aMs < bMs || (aMs === bMs && aN < bN);
}

/** The two parts of a message id: Unix time in ms, and a counter within that millisecond. */
export function parseMessageId(id: string): [ms: number, n: number] {
  const dash = id.indexOf('-');
  return [Number(id.slice(0, dash)), Number(id.slice(dash + 1))];
}

export function counterKey(channel: string): string {
  return `${channel}:seq`;
}

export function inboxKey(channel: string, clientId: string): string {
  return `${channel}:in:${clientId}`;
}

export function ackKey(channel: string, clientId: string): string {
  return `${channel}:ack:${clientId}`;
}

/** The mark of a shard that has lost stored pushes: see lost-history.ts. */
export function markKey(channel: string): string {
  return `${channel}:lost`;
}

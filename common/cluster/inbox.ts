/**
 * The inbox: what is stored for a client until it is confirmed or expires, in Redis.
 *
 * Keys of one client, all in the slot of its shard's tag:
 *
 *   ll:{tag}:seq             counter; how many durable pushes the shard has had
 *   ll:{tag}:in:<clientId>   stream; one entry per push, oldest first. Fields, in this order:
 *                            p payload · x when it expires, Unix time in ms · b payload bytes that
 *                            the stream ever held before it (so the bytes held now are known from
 *                            its first and last entry) · c content type, if it has one
 *   ll:{tag}:ack:<clientId>  hash of ids; `last` the newest ever given to this client · `acked` the
 *                            newest that was confirmed · `gone` the newest that left the inbox
 *                            unconfirmed. It outlives the inbox, so that a device which comes back
 *                            after a quiet day is told that it missed nothing. And what spares a
 *                            push the reading of other pushes, while the inbox is not empty:
 *                            `held` what `b` of the next entry is · `floor` and `due` what `b` and
 *                            `x` of the oldest are; without `due`, the oldest must be looked at
 *   ll:{tag}:idem:<clientId>\0<key>   string; the id that the client's push with this key got
 *
 * Confirmed entries are deleted, so what an inbox holds is exactly what is not confirmed. The history
 * past a cursor is complete when the cursor is an entry, or one of the three ids above (any other id
 * is not this client's, or older than what was confirmed), and nothing past it has gone.
 *
 * Everything that changes an inbox is one script: there is no state between "stored" and "rung".
 */
import type { Outcome } from '../redis/execute.js';
import type { RedisLink } from '../redis/redis-link.js';
import { Script } from '../redis/script.js';
import { shardChannel } from './shard.js';

export interface InboxBounds {
  /** Pushes per inbox. The oldest goes. */
  readonly countMax: number;
  /** Payload bytes per inbox. The oldest goes. */
  readonly bytesMax: number;
}

/** How long an idempotency key is remembered, or the push's TTL if that is longer. */
const IDEMPOTENCY_MS = 10 * 60 * 1000;
/** How long `last` and `gone` outlive the newest push. */
const HISTORY_MS = 24 * 60 * 60 * 1000;

/** Helpers that the scripts begin with. */
const LUA_COMMON = `
local function parse(id)
  local dash = string.find(id, '-', 1, true)
  return tonumber(string.sub(id, 1, dash - 1)), tonumber(string.sub(id, dash + 1))
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
local function confirm(inbox, ack, id)
  redis.call('HSET', ack, 'acked', id)
  redis.call('HDEL', ack, 'due')
  local ms, n = parse(id)
  redis.call('XTRIM', inbox, 'MINID', string.format('%.0f-%.0f', ms, n + 1))
end
`;

/**
 * Stores a push and rings the bell.
 * Input:  KEYS seq, inbox, ack, [idem]; ARGV channel, envelope, payload, TTL in ms, count bound,
 *         bytes bound, history in ms, idempotency in ms, content type
 * Output: {1, id, receivers, how many older pushes were dropped} or {0, first id} for a duplicate
 * Events: the envelope on the channel, with two fields appended that only this script knows: a
 *         message of Protocol Buffers followed by more fields is again a message. Fields 8 and 9,
 *         strings (wire type 2), so their tags are 0x42 and 0x4a.
 */
const PUSH = new Script(`${LUA_COMMON}
local seq, inbox, ack, idem = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local payload, ttl = ARGV[3], tonumber(ARGV[4])
if idem then
  local seen = redis.call('GET', idem)
  if seen then
    -- A write: a WAIT after it covers the first push, too.
    redis.call('PEXPIRE', idem, ARGV[8])
    return {0, seen}
  end
end
local now = nowMs()
local count, dropped, isNew = redis.call('XLEN', inbox), 0, false
-- Of an inbox that is empty: this push will be its oldest.
local held, floor, due = 0, 0, now + ttl
if count > 0 then
  local known = redis.call('HMGET', ack, 'held', 'floor', 'due')
  held, floor, due = known[1], known[2], known[3]
  if not held then
    local newest = redis.call('XREVRANGE', inbox, '+', '-', 'COUNT', 1)[1]
    held, due = newest[2][6] + #newest[2][2], nil
  end
  while not due or tonumber(due) <= now or count >= tonumber(ARGV[5])
      or held - floor + #payload > tonumber(ARGV[6]) do
    local oldest = first(inbox)
    if due then
      redis.call('XDEL', inbox, oldest[1])
      redis.call('HSET', ack, 'gone', oldest[1])
      count, dropped = count - 1, dropped + 1
      oldest = first(inbox)
    end
    if not oldest then
      floor, due = held, now + ttl
      break
    end
    floor, due = oldest[2][6], oldest[2][4]
  end
elseif redis.call('EXISTS', inbox) == 0 then
  -- It expired whole, or never was: nothing that was given out before is there any more.
  isNew = true
  local last = redis.call('HGET', ack, 'last')
  if last then redis.call('HSET', ack, 'gone', last) end
end
local entry = {'p', payload, 'x', now + ttl, 'b', held}
if ARGV[9] ~= '' then
  entry[7], entry[8] = 'c', ARGV[9]
end
local id = redis.call('XADD', inbox, '*', unpack(entry))
redis.call('PEXPIRE', inbox, ARGV[4], isNew and 'NX' or 'GT')
redis.call('HSET', ack, 'last', id, 'held', held + #payload, 'floor', floor, 'due', due)
if count > 0 then
  -- Not shortened: an older entry may stay for longer than this one.
  redis.call('PEXPIRE', ack, ARGV[7], 'GT')
else
  redis.call('PEXPIRE', ack, ARGV[7])
end
if idem then redis.call('SET', idem, id, 'PX', ARGV[8]) end
local n = string.format('%.0f', redis.call('INCR', seq))
local stored = '\\66' .. string.char(#id) .. id .. '\\74' .. string.char(#n) .. n
local receivers = redis.call('SPUBLISH', ARGV[1], ARGV[2] .. stored)
return {1, id, receivers, dropped}`);

/**
 * A device came back and says what it has: that is confirmed, and deleted.
 * Input:  KEYS inbox, ack; ARGV cursor
 * Output: 1 when what is stored past the cursor is all there was, else 0
 */
const RESUME = new Script(`${LUA_COMMON}
local inbox, ack, cursor = KEYS[1], KEYS[2], ARGV[1]
local known = redis.call('HMGET', ack, 'last', 'acked', 'gone')
local last, acked, gone = known[1], known[2], known[3]
if not last then return 0 end
if redis.call('EXISTS', inbox) == 0 then gone = last end
local isKnown = cursor == last or cursor == acked or cursor == gone
  or redis.call('XRANGE', inbox, cursor, cursor)[1]
if not isKnown or (gone and isBefore(cursor, gone)) then return 0 end
confirm(inbox, ack, cursor)
return 1`);

/**
 * A device says that it has everything up to an id that it was sent: that is deleted.
 * Input:  KEYS inbox, ack; ARGV id
 * Output: 1, or 0 when that was known already, or Redis has lost the push
 */
const CONFIRM = new Script(`${LUA_COMMON}
local inbox, ack, id = KEYS[1], KEYS[2], ARGV[1]
local known = redis.call('HMGET', ack, 'last', 'acked')
local last, acked = known[1], known[2]
if not last or isBefore(last, id) or (acked and not isBefore(acked, id)) then return 0 end
confirm(inbox, ack, id)
return 1`);

/**
 * Some of an inbox, and what is missing before it.
 * Input:  KEYS inbox, ack; ARGV where to start, count
 * Output: {entries, gone}
 */
const READ = new Script(`
local inbox, ack = KEYS[1], KEYS[2]
local isThere = redis.call('EXISTS', inbox) == 1
local gone = redis.call('HGET', ack, isThere and 'gone' or 'last')
return {redis.call('XRANGE', inbox, ARGV[1], '+', 'COUNT', ARGV[2]), gone or ''}`);

export type Stored =
  | {
      readonly type: 'stored';
      readonly id: string;
      readonly receivers: number;
      /** Older pushes of the client that had to go for this one, or had expired. */
      readonly dropped: number;
    }
  | { readonly type: 'duplicate'; readonly firstId: string };

export interface StorePush {
  readonly tag: string;
  readonly clientId: string;
  /** A ShardEnvelope without `id` and `seq`, which the script appends. */
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
  const { tag, clientId, idempotencyKey, envelope } = push;
  const keys = [counterKey(tag), inboxKey(tag, clientId), ackKey(tag, clientId)];
  // A clientId has no control characters, so no two pairs of clientId and key meet.
  if (idempotencyKey !== '') keys.push(`ll:{${tag}}:idem:${clientId}\0${idempotencyKey}`);
  return PUSH.run(
    link,
    keys,
    [
      shardChannel(tag),
      Buffer.from(envelope.buffer, envelope.byteOffset, envelope.length),
      push.payload,
      push.ttlMs,
      bounds.countMax,
      bounds.bytesMax,
      Math.max(push.ttlMs, HISTORY_MS),
      Math.max(push.ttlMs, IDEMPOTENCY_MS),
      push.contentType,
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

/** An entry of an inbox. */
export interface InboxEntry {
  readonly id: string;
  readonly payload: Buffer;
  /** Empty: none. */
  readonly contentType: string;
  /** What is left of its TTL, in milliseconds; 0 or less: it must not be delivered any more. */
  readonly ttlMs: number;
}

const ID = /^\d{1,15}-\d{1,15}$/;

/** Whether a text could be the id of a push: what devices send back is checked before it is used. */
export function isMessageId(text: string): boolean {
  return ID.test(text);
}

/**
 * Confirms everything up to `cursor`, which is an id. Resolves with whether the history past it is
 * complete.
 */
export function resumeInbox(
  link: Pick<RedisLink, 'execute'>,
  tag: string,
  clientId: string,
  cursor: string,
): Promise<Outcome<boolean>> {
  const keys = [inboxKey(tag, clientId), ackKey(tag, clientId)];
  return RESUME.run(link, keys, [cursor], 'text', (reply: number) => reply === 1);
}

/** Confirms everything up to `id`, which was sent to the client. Resolves with whether Redis did. */
export function confirmInbox(
  link: Pick<RedisLink, 'execute'>,
  tag: string,
  clientId: string,
  id: string,
): Promise<Outcome<number>> {
  const keys = [inboxKey(tag, clientId), ackKey(tag, clientId)];
  return CONFIRM.run(link, keys, [id], 'text', (removed: number) => removed);
}

/** The newest id that was ever given to the client, or ''. */
export async function readNewestId(
  link: Pick<RedisLink, 'execute'>,
  tag: string,
  clientId: string,
): Promise<Outcome<string>> {
  const outcome = await link.execute<string | null>('hget', [ackKey(tag, clientId), 'last']);
  return outcome.type === 'done' ? { type: 'done', reply: outcome.reply ?? '' } : outcome;
}

/** Some of an inbox, and what can no longer be read of it, as of one moment. */
export interface InboxPage {
  /** Oldest first. */
  readonly entries: readonly InboxEntry[];
  /** The newest id that left the inbox unconfirmed; '': none. Past it, nothing is missing. */
  readonly gone: string;
}

const NOTHING: InboxPage = { entries: [], gone: '' };

/** Up to `countMax` entries past `after`; '': from the oldest. Changes nothing. */
export function readInbox(
  link: Pick<RedisLink, 'execute'>,
  tag: string,
  clientId: string,
  after: string,
  countMax: number,
): Promise<Outcome<InboxPage>> {
  const keys = [inboxKey(tag, clientId), ackKey(tag, clientId)];
  return READ.run(link, keys, [after === '' ? '-' : `(${after}`, countMax], 'bytes', readPage);
}

function readPage([entries, gone]: [[Buffer, Buffer[]][], Buffer]): InboxPage {
  if (entries.length === 0 && gone.length === 0) return NOTHING;
  const nowMs = Date.now();
  const read = entries.map(([id, [, payload, , expiresAtMs, , , , contentType]]) => ({
    id: id.toString(),
    payload: payload!,
    contentType: contentType?.toString('latin1') ?? '',
    ttlMs: Number(expiresAtMs) - nowMs,
  }));
  return { entries: read, gone: gone.toString() };
}

/** Whether the client has confirmed `id`, or a later one. False while Redis cannot be asked. */
export async function isAcked(
  link: Pick<RedisLink, 'execute'>,
  tag: string,
  clientId: string,
  id: string,
): Promise<boolean> {
  const outcome = await link.execute<string | null>('hget', [ackKey(tag, clientId), 'acked']);
  if (outcome.type !== 'done' || outcome.reply === null) return false;
  return !isIdBefore(outcome.reply, id);
}

export function isIdBefore(a: string, b: string): boolean {
  const [aMs, aN] = parseMessageId(a);
  const [bMs, bN] = parseMessageId(b);
  return aMs < bMs || (aMs === bMs && aN < bN);
}

/** The two numbers of an id: Unix time in ms, and a counter within that millisecond. */
export function parseMessageId(id: string): [ms: number, n: number] {
  const dash = id.indexOf('-');
  return [Number(id.slice(0, dash)), Number(id.slice(dash + 1))];
}

/**
 * How many durable pushes each of these shards has had; undefined while Redis cannot be asked. In
 * Redis Cluster no command may name the keys of two shards (CROSSSLOT).
 */
export async function readShardCounters(
  link: Pick<RedisLink, 'execute' | 'isCluster'>,
  tags: readonly string[],
): Promise<(number | undefined)[]> {
  const keys = tags.map(counterKey);
  const commands = link.isCluster ? keys.map((key) => [key]) : [keys];
  const counters = await Promise.all(
    commands.map(async (args) => {
      const outcome = await link.execute<(string | null)[]>('mget', args);
      return args.map((_, i) =>
        outcome.type === 'done' ? Number(outcome.reply[i] ?? 0) : undefined,
      );
    }),
  );
  return counters.flat();
}

function counterKey(tag: string): string {
  return `ll:{${tag}}:seq`;
}

function inboxKey(tag: string, clientId: string): string {
  return `ll:{${tag}}:in:${clientId}`;
}

function ackKey(tag: string, clientId: string): string {
  return `ll:{${tag}}:ack:${clientId}`;
}

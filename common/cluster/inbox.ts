/**
 * The inbox in Redis: the durable pushes of a client, stored until they are confirmed or expire.
 *
 * Keys of one client, all in the slot of its shard's tag. They start with the shard's channel
 * (`ll:{tag}`, after the prefix of the cluster), which the functions below take in place of the
 * tag:
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
 *                            After pushes were confirmed before an older one: `apart` the newest of
 *                            them · `freed` payload bytes of those after the oldest entry. After
 *                            newest pushes were lost: `told` the position of the mark that the
 *                            client has learned of. After pushes were replaced: `replaced`, see
 *                            combine.ts; they are in `apart` and `freed`, too
 *   ll:{tag}:keys:<clientId> hash: collapse and append keys (combine.ts)
 *   ll:{tag}:lost            string: the mark of a shard that has lost stored pushes
 *                            (lost-history.ts)
 *   ll:{tag}:idem:<clientId>\0<key>   string: the id of the client's push with this key
 *
 * Confirmed entries are deleted, so an inbox contains exactly the unconfirmed pushes. `acked` says
 * that everything up to it is confirmed; a push that is confirmed alone, before an older one, is
 * just deleted, and so is one that is replaced. The history after a cursor is complete if the
 * cursor is an entry or one of `last`, `acked`, `gone`, `apart` and those `replaced` (any other id
 * is another client's, or older than the newest confirmed), and no later push is gone.
 *
 * Every change of an inbox is one script, so no push is stored without being published.
 */
import type { Outcome } from '../redis/execute.js';
import { LUA_ITEMS, Script, type ScriptLink } from '../redis/script.js';
import { type EventBounds, perBounds } from './events/event-stream.js';
import { luaConfirmed } from './events/push-events.js';
import { LUA_COUNT_LEFT } from './ledger/left.js';

/** Lifetime of the `ack` hash after the newest push, or the push's TTL if that is longer. */
export const HISTORY_MS = 24 * 60 * 60 * 1000;

/** A new mark (lost-history.ts) is a minute old, so that later pushes are newer by any clock. */
export const MARK_AGE_MS = 60_000;

/** Bytes of `replaced`: more than 200 ids. Beyond it, the oldest are forgotten. */
export const REPLACED_BYTES_MAX = 4_096;

/** Lua helpers at the start of the scripts. */
export const LUA_COMMON = `${LUA_COUNT_LEFT}
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
-- The position of a mark which says that the newest pushes of the shard were lost, perhaps some
-- after the id, unless the client was told so; false if there is none. What is evicted, in
-- contrast, is a whole inbox, of which no id is known.
local function untoldMark(ack, key, id)
  local at = string.match(redis.call('GET', key) or '', '^(%S+) counter:')
  if not at or parse(id) > parse(at) + ${MARK_AGE_MS} then return false end
  return redis.call('HGET', ack, 'told') ~= at and at
end
-- Whether the ids that were replaced, as the ack hash has them, have this one among them.
local function isReplaced(replaced, id)
  return replaced and string.find(replaced, ' ' .. id .. ' ', 1, true)
end
-- Returns the number of pushes that were stored.
local function confirm(inbox, ack, id)
  redis.call('HSET', ack, 'acked', id)
  redis.call('HDEL', ack, 'due')
  local ms, n = parse(id)
  return redis.call('XTRIM', inbox, 'MINID', string.format('%.0f-%.0f', ms, n + 1))
end
`;

/**
 * Lua helpers for the field `held`, in which one push leaves to the next what that would otherwise
 * read from the inbox: the next entry's `b` in decimal, a NUL, and seven doubles. They are `held`
 * the same number · `floor` and `due` the oldest entry's `b` and `x` · `count` of the entries ·
 * `renewAt` when the keys must be given more time to live, and `longest` the TTL for which they
 * have enough until then · the sum of all these and 1, because a wrong one could lose pushes.
 * Earlier versions wrote the sum without the 1, and did not enter the client in `ll:{tag}:wait`
 * (ledger/left.ts).
 *
 * `unpackState` returns nothing for a text that is anything else. Earlier versions only wrote the
 * decimal number, and kept `floor` and `due` in fields of these names; to their scripts, a text
 * with a NUL is the number before it, and without `due` they read the oldest entry.
 */
export const LUA_STATE = `
local function unpackState(text)
  if not text or #text < 58 then return end
  local held, floor, due, count, renewAt, longest, sum = struct.unpack('<ddddddd', text, #text - 55)
  if held + floor + due + count + renewAt + longest + 1 == sum then
    return held, floor, due, count, renewAt, longest
  end
end
local function packState(held, floor, due, count, renewAt, longest)
  local sum = held + floor + due + count + renewAt + longest + 1
  return string.format('%d', held) .. '\\0'
    .. struct.pack('<ddddddd', held, floor, due, count, renewAt, longest, sum)
end
`;

/**
 * Lua helper of the scripts that confirm. It brings the ack hash up to date after entries between
 * others were deleted: `apart` is the newest of them. It reads only entries that are older.
 */
export const LUA_SETTLE = `${LUA_STATE}
local function settle(inbox, ack, apart)
  redis.call('HDEL', ack, 'due')
  local known = redis.call('HMGET', ack, 'acked', 'gone', 'held', 'replaced')
  local acked, gone, held = known[1], known[2], unpackState(known[3]) or known[3]
  local isCursor = false
  for id in string.gmatch(known[4] or '', '%S+') do
    isCursor = isCursor or not acked or isBefore(acked, id)
  end
  if known[4] and not isCursor then redis.call('HDEL', ack, 'replaced') end
  local older = redis.call('XRANGE', inbox, '-', apart)
  if not older[1] then
    redis.call('HDEL', ack, 'freed')
    if not acked or isBefore(acked, apart) then
      -- Everything up to this id is confirmed, unless a push has left the inbox unconfirmed, or a
      -- device may name one that was replaced.
      if isCursor or (gone and (not acked or isBefore(acked, gone))) then
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
 * Resumes after a device's cursor: confirms and deletes everything up to it.
 * Input:  KEYS inbox, ack, mark; ARGV cursor
 * Output: the number of pushes that were confirmed, and with events the id of the newest event; -1
 *         if the history after the cursor is not complete
 */
const resumeLua = (luaEvents = '') => `${LUA_COMMON}${luaEvents}${LUA_SETTLE}
local inbox, ack, cursor = KEYS[1], KEYS[2], ARGV[1]
local known = redis.call('HMGET', ack, 'last', 'acked', 'gone', 'apart', 'replaced')
local last, acked, gone, apart = known[1], known[2], known[3], known[4]
local isMark = cursor == readMark(KEYS[3])
if not last then return isMark and 0 or -1 end
if redis.call('EXISTS', inbox) == 0 then gone = last end
local isKnown = cursor == last or cursor == acked or cursor == gone or cursor == apart
  or ((isMark or isReplaced(known[5], cursor)) and not (acked and isBefore(cursor, acked)))
  or redis.call('XRANGE', inbox, cursor, cursor)[1]
if not isKnown or (gone and isBefore(cursor, gone)) then return -1 end
if not isMark and untoldMark(ack, KEYS[3], cursor) then return -1 end
local count = confirm(inbox, ack, cursor)
countLeft(inbox, 'confirmed', count)
if apart then settle(inbox, ack, apart) end
return ${luaEvents === '' ? 'count' : '{count, newestEvent}'}`;
const RESUME = new Script(resumeLua());
const RESUME_WITH_EVENTS = perBounds((bounds) => new Script(resumeLua(luaConfirmed(bounds))));

/**
 * Confirms and deletes everything up to an id that the device received, and single later pushes.
 * Input:  for each inbox: KEYS inbox, ack; ARGV id or '', single ids with spaces between them
 * Output: a line for each inbox: the number of pushes that were confirmed, which were stored until
 *         now; with events also the id of the newest event, if this has written one
 */
const confirmLua = (luaEvents = '') => `${LUA_ITEMS}${LUA_COMMON}${luaEvents}${LUA_SETTLE}
local function confirmOne(inbox, ack, id, singles)
${luaEvents && "  newestEvent = ''"}
  local known = redis.call('HMGET', ack, 'last', 'acked', 'apart')
  local last, acked, apart = known[1], known[2], known[3]
  if not last then return '0' end
  local count, isChanged = 0, false
  if id ~= '' and not isBefore(last, id) and not (acked and not isBefore(acked, id)) then
    count, isChanged = confirm(inbox, ack, id), true
  end
  for single in string.gmatch(singles, '%S+') do
    if redis.call('XDEL', inbox, single) == 1 then
      count, isChanged = count + 1, true
${luaEvents && '      confirmedAlone(inbox, single)'}
      if not apart or isBefore(apart, single) then apart = single end
    end
  end
  countLeft(inbox, 'confirmed', count)
  if apart and isChanged then settle(inbox, ack, apart) end
  return string.format('%d', count)${luaEvents && " .. ' ' .. newestEvent"}
end
return each(#KEYS / 2, function(i)
  return confirmOne(KEYS[2 * i - 1], KEYS[2 * i], ARGV[2 * i - 1], ARGV[2 * i])
end)`;
const CONFIRM = new Script(confirmLua());
const CONFIRM_WITH_EVENTS = perBounds((bounds) => new Script(confirmLua(luaConfirmed(bounds))));

/**
 * What became of a push that is not newer than `apart`: 1 it was confirmed before an older one, so
 * it is not in the inbox and has not left it unconfirmed; 2 it was replaced; 0 neither, or not
 * known.
 * Input:  KEYS inbox, ack; ARGV id
 * Output: 1, 2 or 0
 */
const READ_APART = new Script(`${LUA_COMMON}
local inbox, ack, id = KEYS[1], KEYS[2], ARGV[1]
local known = redis.call('HMGET', ack, 'gone', 'replaced')
local gone, replaced = known[1], known[2]
if redis.call('EXISTS', inbox) == 0 or (gone and not isBefore(gone, id)) then return 0 end
if isReplaced(replaced, id) then return 2 end
-- It may have been forgotten if there is no room for another one.
if replaced and #replaced > ${REPLACED_BYTES_MAX - 32} then return 0 end
return redis.call('XRANGE', inbox, id, id)[1] and 0 or 1`);

const ID = /^\d{1,15}-\d{1,15}$/;

/** Whether a text has the form of a message id: ids from devices are checked before their use. */
export function isMessageId(text: string): boolean {
  return ID.test(text);
}

export interface Resumed {
  /** The history after the cursor is complete; else nothing was confirmed. */
  readonly isComplete: boolean;
  /** Pushes that were stored until now. */
  readonly confirmed: number;
}

/**
 * Confirms everything up to `cursor`, a message id.
 * @param events writes an event of each push that this confirms; undefined: none
 */
export function resumeInbox(
  link: ScriptLink,
  channel: string,
  clientId: string,
  cursor: string,
  events?: EventBounds,
): Promise<Outcome<Resumed>> {
  const keys = [inboxKey(channel, clientId), ackKey(channel, clientId), markKey(channel)];
  const script = events === undefined ? RESUME : RESUME_WITH_EVENTS(events);
  return script.run(link, keys, [cursor], 'text', (reply: number | [number, string]) => {
    const [count, newestEvent] = typeof reply === 'number' ? [reply, ''] : reply;
    if (newestEvent !== '') events?.onWritten?.(channel, newestEvent);
    return { isComplete: count >= 0, confirmed: Math.max(0, count) };
  });
}

export interface Confirmation {
  /** The channel of the client's shard. */
  readonly channel: string;
  readonly clientId: string;
  /** Everything up to this id is confirmed; '': nothing. */
  readonly id: string;
  /** Later pushes that are confirmed alone. All were sent to the client. */
  readonly singles: readonly string[];
}

/**
 * Confirms pushes with one script. Resolves for each confirmation with the number of pushes that
 * were stored until now.
 * @param confirmations of one scope
 * @param events writes an event of each push that this confirms; undefined: none
 */
export async function confirmInboxes(
  link: ScriptLink,
  confirmations: readonly Confirmation[],
  events?: EventBounds,
): Promise<readonly Outcome<number>[]> {
  const keys = confirmations.flatMap(({ channel, clientId }) => [
    inboxKey(channel, clientId),
    ackKey(channel, clientId),
  ]);
  const args = confirmations.flatMap(({ id, singles }) => [id, singles.join(' ')]);
  const script = events === undefined ? CONFIRM : CONFIRM_WITH_EVENTS(events);
  const outcomes = await script.runEach(link, confirmations.length, keys, args, (line) => {
    const [confirmed, newestEvent = ''] = line.split(' ');
    return { confirmed: Number(confirmed), newestEvent };
  });
  return outcomes.map((outcome, i) => {
    if (outcome.type !== 'done') return outcome;
    const { confirmed, newestEvent } = outcome.reply;
    if (newestEvent !== '') events?.onWritten?.(confirmations[i]!.channel, newestEvent);
    return { type: 'done', reply: confirmed };
  });
}

/** The same for one client. */
export async function confirmInbox(
  link: ScriptLink,
  channel: string,
  clientId: string,
  id: string,
  singles: readonly string[] = [],
): Promise<Outcome<number>> {
  return (await confirmInboxes(link, [{ channel, clientId, id, singles }]))[0]!;
}

/** Reads the newest id ever assigned for the client, or ''. */
export async function readNewestId(
  link: ScriptLink,
  channel: string,
  clientId: string,
): Promise<Outcome<string>> {
  const outcome = await link.execute<string | null>('hget', [ackKey(channel, clientId), 'last']);
  return outcome.type === 'done' ? { type: 'done', reply: outcome.reply ?? '' } : outcome;
}

/** State of a stored push, as far as it is known. */
export type PushFate = 'acked' | 'replaced' | undefined;

/**
 * Whether the client has confirmed `id`, alone or with everything up to a later id, or a later push
 * has replaced it. Undefined if neither, or if Redis does not answer.
 */
export async function readFate(
  link: ScriptLink,
  channel: string,
  clientId: string,
  id: string,
): Promise<PushFate> {
  const key = ackKey(channel, clientId);
  const read = await link.execute<(string | null)[]>('hmget', [key, 'acked', 'apart']);
  if (read.type !== 'done') return undefined;
  const [acked, apart] = read.reply;
  if (typeof acked === 'string' && !isIdBefore(acked, id)) return 'acked';
  if (typeof apart !== 'string' || isIdBefore(apart, id)) return undefined;
  const keys = [inboxKey(channel, clientId), key];
  const outcome = await READ_APART.run(link, keys, [id], 'text', Number);
  return outcome.type === 'done' ? FATES[outcome.reply] : undefined;
}

const FATES: readonly PushFate[] = [undefined, 'acked', 'replaced'];

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

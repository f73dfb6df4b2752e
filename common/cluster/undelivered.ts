/**
 * Pushes that a device cannot receive: its library closes the connection instead. Such a push would
 * be sent again after each reconnect and keep all later ones back, so it is skipped: it leaves the
 * inbox unconfirmed, and `reset` tells the device about the gap.
 *
 * Two more fields of `ll:{tag}:ack:<clientId>` (see inbox.ts):
 *
 *   tries    `<id> <count> <Unix ms>`: connections that ended soon after the oldest push, with this
 *            id, was sent; and when the last of them ended
 *   skipped  the newest id that was skipped
 *
 * They are written when a connection ends, never on the path of a push.
 */
import type { Outcome } from '../redis/execute.js';
import type { ScriptLink } from '../redis/script.js';
import { type EventBounds, withAndWithout } from './events/event-stream.js';
import { luaLeft } from './events/push-events.js';
import { ackKey, inboxKey, LUA_COMMON, LUA_SETTLE } from './inbox.js';

/** A push is skipped when this many connections in a row have ended soon after it was sent. */
export const DELIVERY_TRIES_MAX = 5;
/** Tries are forgotten if no other follows within this time. */
const TRIES_MS = 10 * 60 * 1_000;
/** Entries that are searched for the largest one. */
const SEARCHED_MAX = 256;

const luaSkip = (events: EventBounds | undefined) => `${LUA_COMMON}${LUA_SETTLE}
${events === undefined ? '' : luaLeft(events)}
local function skip(inbox, ack, id)
  if redis.call('XDEL', inbox, id) == 0 then return 0 end
${events === undefined ? '' : "  left(inbox, id, 'skipped')"}
  local known = redis.call('HMGET', ack, 'gone', 'apart')
  if not known[1] or isBefore(known[1], id) then redis.call('HSET', ack, 'gone', id) end
  redis.call('HSET', ack, 'skipped', id)
  redis.call('HDEL', ack, 'tries')
  countLeft(inbox, 'skipped', 1)
  settle(inbox, ack, known[2] and isBefore(id, known[2]) and known[2] or id)
  return 1
end
`;

/**
 * Skips one push.
 * Input:  KEYS inbox, ack; ARGV id
 * Output: 1; 0 if it is not in the inbox
 */
const SKIP = withAndWithout(
  (events) => `${luaSkip(events)}
return skip(KEYS[1], KEYS[2], ARGV[1])`,
);

/**
 * Skips the largest push that was sent to the device and is not confirmed: the device has said that
 * a push was too large for it, and no smaller one can be the reason.
 * Input:  KEYS inbox, ack; ARGV newest id that was sent, number of entries to search
 * Output: the id that was skipped, or ''
 */
const SKIP_LARGEST = withAndWithout(
  (events) => `${luaSkip(events)}
local inbox, ack = KEYS[1], KEYS[2]
local largest, bytes = '', -1
for _, entry in ipairs(redis.call('XRANGE', inbox, '-', ARGV[1], 'COUNT', ARGV[2])) do
  if #entry[2][2] > bytes then largest, bytes = entry[1], #entry[2][2] end
end
if largest ~= '' then skip(inbox, ack, largest) end
return largest`,
);

/**
 * Counts a try of the oldest unconfirmed push, and skips the push after the last one.
 * Input:  KEYS inbox, ack; ARGV newest id that was sent, maximum number of tries, ms after which
 *         tries are forgotten
 * Output: the id that was skipped, or ''
 */
const COUNT_TRY = withAndWithout(
  (events) => `${luaSkip(events)}
local inbox, ack = KEYS[1], KEYS[2]
local oldest = first(inbox)
if not oldest or isBefore(ARGV[1], oldest[1]) then return '' end
local id, now, count = oldest[1], nowMs(), 1
if number(oldest[2][4]) <= now then return '' end
local tried, tries, at = string.match(redis.call('HGET', ack, 'tries') or '', '^(%S+) (%d+) (%d+)$')
if tried == id and now - tonumber(at) <= tonumber(ARGV[3]) then count = tonumber(tries) + 1 end
if count >= tonumber(ARGV[2]) then
  skip(inbox, ack, id)
  return id
end
redis.call('HSET', ack, 'tries', string.format('%s %.0f %.0f', id, count, now))
return ''`,
);

/** Whether `id` is the push that was skipped last. False if Redis does not answer. */
export async function isSkipped(
  link: ScriptLink,
  channel: string,
  clientId: string,
  id: string,
): Promise<boolean> {
  const read = await link.execute<string | null>('hget', [ackKey(channel, clientId), 'skipped']);
  return read.type === 'done' && read.reply === id;
}

/** Resolves with whether the push was in the inbox. */
export function skipPush(
  link: ScriptLink,
  channel: string,
  clientId: string,
  id: string,
  events?: EventBounds,
): Promise<Outcome<boolean>> {
  const keys = [inboxKey(channel, clientId), ackKey(channel, clientId)];
  return SKIP(events).run(link, keys, [id], 'text', (skipped: number) => skipped === 1);
}

/**
 * Skips the largest unconfirmed push up to `lastSentId`. Resolves with its id, or ''.
 */
export function skipLargestPush(
  link: ScriptLink,
  channel: string,
  clientId: string,
  lastSentId: string,
  events?: EventBounds,
): Promise<Outcome<string>> {
  const keys = [inboxKey(channel, clientId), ackKey(channel, clientId)];
  return SKIP_LARGEST(events).run(link, keys, [lastSentId, SEARCHED_MAX], 'text', String);
}

/**
 * Counts a connection that ended soon after pushes up to `lastSentId` were sent. Resolves with the
 * id of the push that is skipped because of that, or ''.
 */
export function countDeliveryTry(
  link: ScriptLink,
  channel: string,
  clientId: string,
  lastSentId: string,
  events?: EventBounds,
): Promise<Outcome<string>> {
  const keys = [inboxKey(channel, clientId), ackKey(channel, clientId)];
  const args = [lastSentId, DELIVERY_TRIES_MAX, TRIES_MS];
  return COUNT_TRY(events).run(link, keys, args, 'text', String);
}

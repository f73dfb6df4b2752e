/**
 * The position of a client whose history has a gap: a cursor from which everything in its inbox
 * follows, and with which the device can resume. Without one, a device that keeps an unknown cursor
 * would receive a `reset` at every connect.
 */
import type { Outcome } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import { ackKey, HISTORY_MS, inboxKey, LUA_COMMON, markKey } from '../inbox.js';

/**
 * Finds the position: the newest id that left the inbox. Where none is known, as after Redis has
 * lost its data, one is made up and kept as `gone` and `last`, so that a push that is lost after it
 * is still noticed. A made-up one is a minute old, so that the ids of later pushes are times.
 * A client without an inbox in a shard with a mark (lost-history.ts) has the position of the mark,
 * which costs no memory in a Redis that has too little.
 * Input:  KEYS inbox, ack, mark; ARGV history in ms
 * Output: the position; '' if Redis has no memory to keep it
 */
const POSITION = new Script(`${LUA_COMMON}
local inbox, ack = KEYS[1], KEYS[2]
local known = redis.call('HMGET', ack, 'last', 'acked', 'gone')
local last, acked, gone = known[1], known[2], known[3]
if last and redis.call('EXISTS', inbox) == 0 then return last end
local position = acked or gone
if acked and gone and isBefore(acked, gone) then position = gone end
if last and position then return position end
local oldest = first(inbox)
local mark = not last and not oldest and readMark(KEYS[3])
if mark then return mark end
local ms = oldest and parse(oldest[1]) - 1 or nowMs() - 60000
position = string.format('%.0f-0', ms)
local newest = redis.call('XREVRANGE', inbox, '+', '-', 'COUNT', 1)[1]
local newestId = last or (newest and newest[1]) or position
local kept = redis.pcall('HSET', ack, 'gone', position, 'last', newestId)
if type(kept) == 'table' then return '' end
if redis.call('PTTL', ack) < 0 then redis.call('PEXPIRE', ack, ARGV[1]) end
return position`);

/** Resolves with the position; '' if none could be kept. */
export function readPosition(
  link: ScriptLink,
  channel: string,
  clientId: string,
): Promise<Outcome<string>> {
  const keys = [inboxKey(channel, clientId), ackKey(channel, clientId), markKey(channel)];
  return POSITION.run(link, keys, [HISTORY_MS], 'text', (position: string) => position);
}

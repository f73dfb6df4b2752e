/** Summary of an inbox for operators, read without its payloads. Changes nothing. */
import type { Outcome } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import { ackKey, inboxKey, LUA_COMMON } from '../inbox.js';

/** Ids are '' where there is none. */
export interface InboxSummary {
  /** Stored pushes, expired ones that were not removed yet included. */
  readonly count: number;
  /** Payload bytes of the stored pushes. */
  readonly bytes: number;
  /** The newest id ever assigned for the client. */
  readonly newestId: string;
  /** The newest id up to which the client has confirmed everything. */
  readonly confirmedId: string;
  /** The newest id that left the inbox unconfirmed: expired, over a bound, or skipped. */
  readonly goneId: string;
  /** Undefined: the inbox is empty. */
  readonly oldest:
    | {
        readonly id: string;
        readonly ageMs: number;
        /** Rest of its TTL; 0 or less: it has expired. */
        readonly ttlMs: number;
      }
    | undefined;
  /** Time until the last of the pushes expires. Undefined: the inbox is empty. */
  readonly ttlMs: number | undefined;
}

/**
 * Input:  KEYS inbox, ack
 * Output: {last, acked, gone, count}, and for an inbox that is not empty: bytes, id of the oldest
 *         entry, its age in ms, its TTL in ms, TTL of the inbox in ms
 */
const SUMMARIZE = new Script(`${LUA_COMMON}
local inbox, ack = KEYS[1], KEYS[2]
local known = redis.call('HMGET', ack, 'last', 'acked', 'gone', 'freed')
local last, acked, gone = known[1] or '', known[2] or '', known[3] or ''
local count = redis.call('XLEN', inbox)
if count == 0 then
  -- An inbox that was not confirmed to its end has expired.
  if redis.call('EXISTS', inbox) == 0 and last ~= acked then gone = last end
  return {last, acked, gone, count}
end
local oldest = first(inbox)
local newest = redis.call('XREVRANGE', inbox, '+', '-', 'COUNT', 1)[1]
local bytes = number(newest[2][6]) + #newest[2][2] - number(oldest[2][6]) - number(known[4])
local now, oldestMs = nowMs(), parse(oldest[1])
return {last, acked, gone, count, bytes, oldest[1], now - oldestMs, number(oldest[2][4]) - now,
  redis.call('PTTL', inbox)}`);

type Reply = [string, string, string, number, number?, string?, number?, number?, number?];

export function summarizeInbox(
  link: ScriptLink,
  channel: string,
  clientId: string,
): Promise<Outcome<InboxSummary>> {
  const keys = [inboxKey(channel, clientId), ackKey(channel, clientId)];
  return SUMMARIZE.run(link, keys, [], 'text', readSummary);
}

function readSummary([newestId, confirmedId, goneId, count, ...rest]: Reply): InboxSummary {
  const [bytes = 0, id, ageMs = 0, oldestTtlMs = 0, ttlMs] = rest;
  const oldest = id === undefined ? undefined : { id, ageMs, ttlMs: oldestTtlMs };
  return { count, bytes, newestId, confirmedId, goneId, oldest, ttlMs };
}

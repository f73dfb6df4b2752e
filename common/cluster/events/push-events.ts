/**
 * Lua of the scripts that store pushes, and that remove them from inboxes, for their events. Each
 * push that is stored is noted in `ll:{tag}:due` (due-events.ts) until it is confirmed or gone: so
 * also the event of one that expires is written, by the edge that owns the shard, and only once.
 */
import type { Outcome } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import {
  DUE_KEPT_MS,
  type EventBounds,
  LUA_INBOX_NAME,
  luaEvents,
  perBounds,
} from './event-stream.js';

/** Entries of an inbox that are read at a time, with their payloads. */
const ENTRIES_PER_READ = 256;

/** Why a push has left its inbox unconfirmed. All but `expired` have the event `push.dropped`. */
export type DropReason = 'expired' | 'inbox_full' | 'replaced' | 'skipped';

/** `left(inbox, id, reason)`, for a push that has left its inbox unconfirmed. */
export function luaLeft(bounds: EventBounds): string {
  return `${luaEvents(bounds)}${LUA_INBOX_NAME}
local function left(inbox, id, reason)
  local channel, client = ofInbox(inbox)
  local isNoted = redis.call('ZREM', channel .. ':due', 'x' .. id .. ' ' .. client) == 1
  if reason ~= 'expired' then
    event(channel, 'push.dropped', client, 'm', id, 'r', reason)
  elseif isNoted then
    event(channel, 'push.expired', client, 'm', id)
  end
  keepEvents(channel)
end
`;
}

/**
 * For the script that stores pushes: `stored(inbox, id, ttl, isRenewal)` notes a push, and gives
 * the set more time to live with the keys of an inbox. Its event is due after `unreadAfterMs` if it
 * is unread then; '0': none.
 */
export function luaStored(bounds: EventBounds): string {
  return `${luaLeft(bounds)}
local unreadAfterMs = '0'
local function stored(inbox, id, ttl, isRenewal)
  local channel, client = ofInbox(inbox)
  local due, member = channel .. ':due', id .. ' ' .. client
  local expiry = format('%d', now + ttl)
  if unreadAfterMs == '0' then
    call('ZADD', due, expiry, 'x' .. member)
  else
    call('ZADD', due, expiry, 'x' .. member, format('%d', now + unreadAfterMs), member)
  end
  if isRenewal then call('PEXPIRE', due, ${DUE_KEPT_MS}) end
end
`;
}

/**
 * Replaces `confirm(inbox, ack, id)` by one that also writes the events, and has
 * `confirmedAlone(inbox, id)` for a push that was deleted alone. One that has expired was not
 * delivered in time.
 */
export function luaConfirmed(bounds: EventBounds): string {
  return `${luaLeft(bounds)}
local function confirmedAlone(inbox, id)
  local channel, client = ofInbox(inbox)
  event(channel, 'push.confirmed', client, 'm', id)
  redis.call('ZREM', channel .. ':due', 'x' .. id .. ' ' .. client, id .. ' ' .. client)
  keepEvents(channel)
end
local confirmOnly, now = confirm, nil
local function confirm(inbox, ack, id)
  local channel, client = ofInbox(inbox)
  local from, count = '-', 0
  now = now or nowMs()
  repeat
    local entries, members = redis.call('XRANGE', inbox, from, id, 'COUNT', ${ENTRIES_PER_READ}), {}
    for _, entry in ipairs(entries) do
      local member = entry[1] .. ' ' .. client
      members[#members + 1] = member
      if number(entry[2][4]) > now then
        event(channel, 'push.confirmed', client, 'm', entry[1])
        members[#members + 1] = 'x' .. member
      else
        left(inbox, entry[1], 'expired')
      end
      from, count = '(' .. entry[1], count + 1
    end
    if members[1] then redis.call('ZREM', channel .. ':due', unpack(members)) end
  until #entries < ${ENTRIES_PER_READ}
  if count > 0 then keepEvents(channel) end
  return confirmOnly(inbox, ack, id)
end
`;
}

/**
 * Writes the events of live-only pushes that were dropped because their device did not read.
 * Input:  KEYS seq; ARGV for each client clientId, number of pushes
 * Output: 1
 */
const DROPPED = perBounds(
  (bounds) =>
    new Script(`${luaEvents(bounds)}
local channel = string.sub(KEYS[1], 1, -5)
for i = 1, #ARGV, 2 do
  event(channel, 'push.dropped', ARGV[i], 'r', 'slow', 'n', ARGV[i + 1])
end
keepEvents(channel)
return 1`),
);

/** @param counts number of pushes by clientId */
export function writeDropped(
  link: ScriptLink,
  channel: string,
  counts: ReadonlyMap<string, number>,
  bounds: EventBounds,
): Promise<Outcome<number>> {
  // As `counterKey` of inbox.ts, which imports this file.
  return DROPPED(bounds).run(link, [`${channel}:seq`], [...counts].flat(), 'text', Number);
}

/**
 * Events that are due at a time unless something happens before: `ll:{tag}:due`, a sorted set by
 * Unix time in ms, of
 *
 *   <id> <clientId>          a push with `notify_unread_after_ms`: `push.unread`
 *   x<id> <clientId>         a stored push: `push.expired`
 *   m<connection> <clientId> a connection that has received a goaway, and whose client has not
 *                            connected again (client-events.ts): `client.disconnected`
 *
 * They are noted, and removed again, by the scripts that know. The edge that owns the shard looks
 * for what is due. So nothing is lost when an edge dies, and two owners at a time write one event.
 */
import type { Outcome } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import { type CountersLink, indexesByMaster } from '../history/shard-counters.js';
import { counterKey } from '../inbox.js';
import { luaClients } from './client-events.js';
import { type EventBounds, perBounds } from './event-stream.js';

/** Events of one call: it blocks Redis for all its time. */
export const DUE_PER_CALL = 100;

/**
 * Finds the shards that have an event that is due. In Redis Cluster, a command must not name keys
 * of two shards, but a script may read keys that it was not called with.
 * Input:  ARGV: channels
 * Output: for each of them 1 or 0
 */
const FIND_DUE = `#!lua flags=no-writes,allow-cross-slot-keys
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
local found = {}
for i, channel in ipairs(ARGV) do
  local due = redis.pcall('ZRANGE', channel .. ':due', '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)
  found[i] = #due
end
return found`;

/**
 * Writes the events that are due.
 * Input:  KEYS seq
 * Output: number of entries that were due, of events `push.unread`, of events `push.expired`; id of
 *         the newest event, or ''
 */
const WRITE_DUE = perBounds(
  (bounds) =>
    new Script(`${luaClients(bounds)}
local channel = string.sub(KEYS[1], 1, -5)
local function isBefore(a, b)
  local aMs, aN = string.match(a, '^(%d+)-(%d+)$')
  local bMs, bN = string.match(b, '^(%d+)-(%d+)$')
  return tonumber(aMs) < tonumber(bMs) or (aMs == bMs and tonumber(aN) < tonumber(bN))
end
local function isOpen(client, id)
  local known = call('HMGET', channel .. ':ack:' .. client, 'acked', 'replaced')
  local isAcked = known[1] and not isBefore(known[1], id)
  return not isAcked and not string.find(known[2] or '', ' ' .. id .. ' ', 1, true)
end
local due = call('ZRANGE', channel .. ':due', '-inf', string.format('%d', now), 'BYSCORE', 'LIMIT', 0,
  ${DUE_PER_CALL})
local unread, expired = 0, 0
for _, member in ipairs(due) do
  local kind, name, client = string.match(member, '^(%a?)(%S+) (.*)$')
  if kind == 'm' then
    gone(channel, client, name)
  elseif isOpen(client, name) then
    event(channel, kind == 'x' and 'push.expired' or 'push.unread', client, 'm', name)
    if kind == 'x' then expired = expired + 1 else unread = unread + 1 end
  end
end
if #due > 0 then
  call('ZREM', channel .. ':due', unpack(due))
  keepEvents(channel)
end
return {#due, unread, expired, newestEvent}`),
);

export interface WrittenDue {
  /** Entries that were due, up to DUE_PER_CALL. */
  readonly entries: number;
  readonly unread: number;
  readonly expired: number;
}

/** The indexes of the channels on which an event is due. */
export async function findDue(link: CountersLink, channels: readonly string[]): Promise<number[]> {
  const found = await Promise.all(
    [...indexesByMaster(link, channels)].map(async ([master, indexes]) => {
      const args = [FIND_DUE, 0, ...indexes.map((i) => channels[i]!)];
      const outcome = await link.executeOn<number[]>(master, 'eval', args);
      return outcome?.type === 'done' ? indexes.filter((_, n) => outcome.reply[n] === 1) : [];
    }),
  );
  return found.flat();
}

/** Writes the events that are due. Resolves with their numbers. */
export function writeDue(
  link: ScriptLink,
  channel: string,
  bounds: EventBounds,
): Promise<Outcome<WrittenDue>> {
  const parse = ([entries, unread, expired, id]: [number, number, number, string]) => {
    if (id !== '') bounds.onWritten?.(channel, id);
    return { entries, unread, expired };
  };
  return WRITE_DUE(bounds).run(link, [counterKey(channel)], [], 'text', parse);
}

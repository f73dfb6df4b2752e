/**
 * What a failover, or a restart of Redis, has done to the events of a shard: it may have lost the
 * newest, together with the data that they tell of. The process that has written them notices that,
 * and writes `events_lost`, without a number, in their place.
 */
import type { Outcome } from '../../redis/execute.js';
import { ID_FLOOR, Script, type ScriptLink } from '../../redis/script.js';
import { counterKey } from '../inbox.js';
import { type EventBounds, luaEvents, perBounds } from './event-stream.js';

/**
 * Maximum entries, from the end of the stream, among which the mark of another process is looked
 * for.
 */
const SEARCHED_MAX = 100;

/**
 * Writes the mark if an event is not there that should be.
 * Input:  KEYS seq; ARGV id of the event, ms since the loss was noticed
 * Output: 1 it is lost, else 0
 */
const MARK_LOST = perBounds(
  (bounds) =>
    new Script(`${luaEvents(bounds)}
local channel = string.sub(KEYS[1], 1, -5)
local stream = channel .. ':ev'
local function parse(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms) or 0, tonumber(n) or 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- An event that was written since the loss is not older.
local since = math.max(now, ${ID_FLOOR}) - ARGV[2]
local ms, n = parse(ARGV[1])
-- It may have been removed because it is too old.
if ms < now - ${bounds.keepMs} then return 0 end
if redis.call('XRANGE', stream, ARGV[1], ARGV[1])[1] then return 0 end
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local firstMs, firstN = parse(first and first[1] or '0-0')
-- Or because there were too many.
if first and (ms < firstMs or (ms == firstMs and n < firstN))
  and redis.call('XLEN', stream) >= ${bounds.countMax} then return 0 end
for _, entry in ipairs(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', ${SEARCHED_MAX})) do
  if parse(entry[1]) < since then break end
  if entry[2][2] == 'events_lost' then return 1 end
end
event(channel, 'events_lost', '', 'r', 'redis')
keepEvents(channel)
return 1`),
);

/**
 * The connections of an edge, as the events say.
 * Input:  KEYS seq; ARGV incarnation, cursor
 * Output: the next cursor, '0' at the end; clientIds and connections
 */
const OWN = new Script(`
local found, own = {}, '^' .. string.gsub(ARGV[1], '%p', '%%%0') .. ':(%S+) '
local read = redis.call('HSCAN', string.sub(KEYS[1], 1, -5) .. ':on', ARGV[2], 'COUNT', 1000)
for i = 1, #read[2], 2 do
  local connection = string.match(read[2][i + 1], own)
  if connection then
    found[#found + 1] = read[2][i]
    found[#found + 1] = connection
  end
end
return {read[1], found}`);

/** Resolves with whether the event is lost; if so, consumers receive `events_lost`. */
export function markLostEvents(
  link: ScriptLink,
  channel: string,
  id: string,
  noticedMsAgo: number,
  bounds: EventBounds,
): Promise<Outcome<boolean>> {
  const args = [id, Math.ceil(noticedMsAgo)];
  const parse = (lost: number) => lost === 1;
  return MARK_LOST(bounds).run(link, [counterKey(channel)], args, 'text', parse);
}

export interface OwnConnections {
  readonly cursor: string;
  readonly connections: readonly { readonly clientId: string; readonly connection: number }[];
}

/** The connections of an edge that have a beginning and no end, page by page: from '0' to '0'. */
export function readOwnConnections(
  link: ScriptLink,
  channel: string,
  incarnation: string,
  cursor: string,
): Promise<Outcome<OwnConnections>> {
  const parse = ([next, texts]: [string, string[]]): OwnConnections => ({
    cursor: next,
    connections: texts.flatMap((text, i) =>
      i % 2 === 0 ? [{ clientId: text, connection: Number(texts[i + 1]) }] : [],
    ),
  });
  return OWN.run(link, [counterKey(channel)], [incarnation, cursor], 'text', parse);
}

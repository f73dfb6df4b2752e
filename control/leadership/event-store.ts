/**
 * The event log in Redis, so that it outlives every control: one stream per kind of event, bounded
 * as in memory. The leader writes it, the other controls read it. The ids of the entries are those
 * of the events, so an event is stored once, also if its write is repeated. All streams have the
 * same hash tag: one script writes or reads them together, and no reader sees a later event of one
 * kind without an earlier one of another.
 */
import { z } from 'zod';
import type { RedisLink } from '../../common/redis/redis-link.js';
import type { RedisNames } from '../../common/redis/redis-names.js';
import { EVENT_KINDS, KEPT_MAX, kindOf } from './event-log.js';
import type { LogEntry, LoggedEvent } from './operations.js';

/** Lifetime of a stream after its newest event. */
const KEPT_MS = 7 * 24 * 60 * 60 * 1000;

/**
 * Input:  KEYS the streams; ARGV lifetime in ms, then per event: index of its stream, bound of the
 *         stream, id, encoded event
 * Output: number of events that were not stored, because a newer one of the same kind is there
 */
const WRITE = `
local skipped = 0
for i = 2, #ARGV, 4 do
  local key, id = KEYS[tonumber(ARGV[i])], ARGV[i + 2] .. '-0'
  local top = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  local topId = top and tonumber(string.match(top[1], '^%d+')) or 0
  if tonumber(ARGV[i + 2]) > topId then
    redis.call('XADD', key, 'MAXLEN', ARGV[i + 1], id, 'e', ARGV[i + 3])
    redis.call('PEXPIRE', key, ARGV[1])
  elseif not redis.call('XRANGE', key, id, id)[1] then
    skipped = skipped + 1
  end
end
return skipped`;

/**
 * Input:  KEYS the streams; ARGV first id
 * Output: the encoded events from this id, by kind
 */
const READ = `
local found = {}
for _, key in ipairs(KEYS) do
  for _, entry in ipairs(redis.call('XRANGE', key, ARGV[1], '+')) do
    found[#found + 1] = entry[2][2]
  end
end
return found`;

type Link = Pick<RedisLink, 'commands' | 'names'>;

const storedEvent = z.object({
  id: z.int().positive(),
  atMs: z.int(),
  position: z.object({ incarnation: z.int().min(0), epoch: z.int().min(0) }),
  entry: z.looseObject({ type: z.string() }),
});

/**
 * Resolves with the stored events after an id, oldest first. Skips what is no event.
 * @throws Error when Redis is unavailable
 */
export async function readEvents({ commands, names }: Link, after: number): Promise<LoggedEvent[]> {
  const found = await commands.eval(READ, EVENT_KINDS.length, ...keysOf(names), `${after + 1}-0`);
  return (found as string[]).flatMap(decode).sort((a, b) => a.id - b.id);
}

/**
 * Resolves with the number of events that are not stored because another control has stored a
 * newer one of the same kind.
 * @throws Error when Redis is unavailable; the events may be stored
 */
export async function writeEvents(
  { commands, names }: Link,
  events: readonly LoggedEvent[],
): Promise<number> {
  const args = events.flatMap((event) => {
    const kind = kindOf(event.entry);
    return [EVENT_KINDS.indexOf(kind) + 1, KEPT_MAX[kind], event.id, JSON.stringify(event)];
  });
  return Number(await commands.eval(WRITE, EVENT_KINDS.length, ...keysOf(names), KEPT_MS, ...args));
}

function keysOf(names: RedisNames): string[] {
  return EVENT_KINDS.map((kind) => names.events(kind));
}

function decode(text: string): LoggedEvent[] {
  try {
    const { entry, ...event } = storedEvent.parse(JSON.parse(text));
    // Its fields depend on the kind, and only controls write them.
    return [{ ...event, entry: entry as unknown as LogEntry }];
  } catch {
    // Written by a later version, or not by a control.
    return [];
  }
}

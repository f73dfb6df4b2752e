/** Settings of events, of all roles. */
import { z } from 'zod';
import { integer, listOf } from '../../process/config.js';
import { EVENT_SUBJECTS, type EventConfig } from './event-stream.js';

const DAY_MS = 24 * 60 * 60 * 1000;

export const eventSettings = {
  LONGLINE_EVENTS: listOf(z.enum(EVENT_SUBJECTS))
    .default([])
    .describe(
      'Events for backends that are written to Redis, separated by commas: `clients` (connected, ' +
        'moved, disconnected, blocked), `pushes` (confirmed, unread, expired, dropped) and `groups` ' +
        '(joined, left). The same for all processes. Each event costs Redis about as much as a small ' +
        'command, and 100 to 200 bytes while it is kept. Unset: none, at no cost.',
    ),
  LONGLINE_EVENTS_PER_SHARD_MAX: integer(10, 1_000_000)
    .default(2_000)
    .describe(
      'Maximum number of events kept of one shard; beyond it the oldest are removed, read or not. A ' +
        'consumer that has not read them gets `events_lost` instead. Too low loses events while no ' +
        'consumer runs; too high lets events take the memory of Redis: all shards together have up ' +
        'to LONGLINE_SHARD_COUNT times as many.',
    ),
  LONGLINE_EVENTS_KEEP_MS: integer(1_000, 30 * DAY_MS)
    .default(DAY_MS)
    .describe(
      'Milliseconds for which an event is kept for consumers that have not read it. Too low loses ' +
        'events while no consumer runs; too high costs memory of Redis.',
    ),
};

type Parsed = z.infer<z.ZodObject<typeof eventSettings>>;

export function eventConfig(parsed: Parsed): EventConfig {
  return {
    subjects: parsed.LONGLINE_EVENTS,
    countMax: parsed.LONGLINE_EVENTS_PER_SHARD_MAX,
    keepMs: parsed.LONGLINE_EVENTS_KEEP_MS,
  };
}

/**
 * Events of clients and pushes for backends, in Redis beside the data: one stream for each shard,
 * so that the script that changes something can write its event in the same moment, and so that the
 * events of a client have one order.
 *
 * Keys of a shard, all in the slot of its tag:
 *
 *   ll:{tag}:ev    stream: one entry per event. `t` type · `c` clientId · by type: `e` edge,
 *                  `p` protocol, `l` labels, `f` edge before, `r` reason, `d` duration in ms, `m`
 *                  message id, `n` number of pushes, `g` group
 *   ll:{tag}:on    hash (client-events.ts): the clients that are connected, as the events say
 *   ll:{tag}:due   sorted set (due-events.ts): events that are due at a time
 *   ll:{tag}:evc   hash (event-reads.ts): by group of consumers, the newest event that is
 *                  acknowledged
 *
 * Nothing of this is written while events are off.
 */
import { ID_FLOOR, IS_FLOOR_RAISED, Script } from '../../redis/script.js';

export interface EventBounds {
  /** Maximum events of one shard; beyond it, the oldest are removed. */
  readonly countMax: number;
  /** Events are removed after this time. */
  readonly keepMs: number;
  /** Called with the newest event that a command has written into the stream of a shard. */
  readonly onWritten?: ((channel: string, id: string) => void) | undefined;
}

/** Subjects of events: each can be on alone. */
export const EVENT_SUBJECTS = ['clients', 'pushes', 'groups'] as const;
export type EventSubject = (typeof EVENT_SUBJECTS)[number];

export interface EventConfig extends EventBounds {
  readonly subjects: readonly EventSubject[];
}

/** The bounds, if events of the subject are on; undefined: none are written. */
export function boundsFor(config: EventConfig, subject: EventSubject): EventBounds | undefined {
  return config.subjects.includes(subject) ? config : undefined;
}

/** A stream without new events goes when the last one is too old, and this much later. */
export const SPARE_MS = 2 * 60 * 60 * 1000;

/**
 * The due events of a shard that no edge serves any more go after this time, longer than any TTL.
 */
export const DUE_KEPT_MS = 32 * 24 * 60 * 60 * 1000;

/**
 * Lua helpers of scripts that write events: `event(channel, type, clientId, field, value, …)`, and
 * `keepEvents(channel)`, to be called once after the last of them, which removes old ones now and
 * then. `newestEvent` is the id of the last one, or ''.
 */
export function luaEvents({ countMax, keepMs }: EventBounds): string {
  return `
local newestEvent = ''
local clock
local function clockMs()
  if not clock then
    local time = redis.call('TIME')
    clock = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return clock
end
local function event(channel, kind, client, ...)
  local stream = channel .. ':ev'
  if clockMs() < ${ID_FLOOR} and (${IS_FLOOR_RAISED} or redis.call('EXISTS', stream) == 0) then
    local added = redis.pcall('XADD', stream, 'MAXLEN', ${countMax}, string.format('%d-0', ${ID_FLOOR}),
      't', kind, 'c', client, ...)
    -- It fails if the newest event is not below the floor.
    if type(added) == 'string' then
      newestEvent = added
      return
    end
  end
  newestEvent = redis.call('XADD', stream, 'MAXLEN', ${countMax}, '*', 't', kind, 'c', client, ...)
end
local function keepEvents(channel)
  if redis.call('PTTL', channel .. ':ev') > ${Math.floor(keepMs * (1 - 1 / 16)) + SPARE_MS} then return end
  redis.call('XTRIM', channel .. ':ev', 'MINID', '~', string.format('%d', clockMs() - ${keepMs}))
  redis.call('PEXPIRE', channel .. ':ev', ${keepMs + SPARE_MS})
end
`;
}

/**
 * Lua helper: channel of the shard, and clientId, of the key of an inbox. A prefix has no braces.
 */
export const LUA_INBOX_NAME = `
local function ofInbox(inbox)
  return string.match(inbox, '^(.-{%d+}):in:(.*)$')
end
`;

export function eventsKey(channel: string): string {
  return `${channel}:ev`;
}

/** Scripts whose text has the bounds: one for each object, of which a process has one. */
export function perBounds<Built>(build: (bounds: EventBounds) => Built) {
  const built = new WeakMap<EventBounds, Built>();
  return (bounds: EventBounds): Built => {
    let found = built.get(bounds);
    if (found === undefined) {
      found = build(bounds);
      built.set(bounds, found);
    }
    return found;
  };
}

/** A script without events, and those with them: the same texts but for what writes the events. */
export function withAndWithout(textOf: (events: EventBounds | undefined) => string) {
  const without = new Script(textOf(undefined));
  const withEvents = perBounds((bounds) => new Script(textOf(bounds)));
  return (events: EventBounds | undefined): Script =>
    events === undefined ? without : withEvents(events);
}

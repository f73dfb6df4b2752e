/** What operators get of moves, plans and events, as schemas; see answers.ts. */
import { z } from 'zod';
import { count, intent, move, position } from './answers.js';
import type { LogEntry } from '../leadership/operations.js';

const seconds = z.number().min(0).nullable();

const drain = z.object({
  edgeId: z.string(),
  shardsPending: count.describe('Shards that nobody else has begun to acquire.'),
  shardsMoving: count.describe('Shards on their way from it.'),
  clientsRemaining: count.nullable(),
  secondsRemaining: seconds,
  finished: z.boolean().describe('Its process may end.'),
});

export const movesAnswer = z.object({
  inFlight: z.array(
    move.extend({ clientsRemaining: count.nullable().describe('Clients that are still to go.') }),
  ),
  pending: count.describe('Planned, and not begun.'),
  paused: z.boolean(),
  frozenUntilMs: count
    .nullable()
    .describe('Unix time in milliseconds, while most edges have vanished at once; else null.'),
  perSecond: z.number().describe('Clients told to go each second, cluster-wide.'),
  paceReason: z
    .enum(['idle', 'pressure', 'held', 'stopped', 'nothing-to-do'])
    .describe('Why that many: how the receiving edges feel. Held: something is not known.'),
  secondsRemaining: seconds,
  drains: z.array(drain),
});

const ratio = z.number().describe('1 is perfect.');

export const planAnswer = z.object({
  on: position,
  shards: count,
  clients: count,
  churn: z
    .object({ removal: count, addition: count, balancing: count })
    .describe('Clients by what they are moved for.'),
  transfers: z
    .array(z.object({ from: z.string(), to: z.string(), shards: z.array(count), clients: count }))
    .describe('Largest first.'),
  maxOverMean: z
    .object({ before: ratio, after: ratio })
    .describe('Largest load of an edge over the mean.'),
  irreducible: z.array(count).describe('Shards too hot for any edge: moving them would not help.'),
  reconnectsPerSecond: z.number(),
  secondsRemaining: seconds,
});

export const intentAnswer = z.object({ edgeId: z.string(), intent });

/** All events there are, and what each says. */
export const EVENT_TYPES: Readonly<Record<LogEntry['type'], string>> = {
  'history-abandoned': 'Redis had lost writes; positions go on in a higher incarnation',
  'edge-joined': 'an edge is a member now',
  'edge-left': 'an edge is not a member any more, with so many shards',
  'edge-restarted': 'another process has taken over the id of an edge',
  'intent-changed': 'an edge is draining, cordoned, or neither any more',
  'move-started': 'a shard is on its way: the receiving edge acquires it',
  'move-handed-over': 'the receiving edge owns the shard; the giving one sends its clients',
  'move-completed': 'the shard has moved',
  'move-rolled-back': 'the shard stays with the edge that had it',
  'shards-placed': 'so many shards changed owner without a move',
  'balancing-started': 'edges are evened out from now on, whoever leads',
  'balancing-finished': 'edges are as even as they can be, or an operator has aborted it',
  operator: 'an operator did something',
  'leader-changed': 'another control decides',
  frozen:
    'most edges have vanished at once; nothing is decided until they are back, or believed gone',
  unfrozen: 'decisions go on',
  'edge-partitioned':
    'the edge has not been ready for longer than a lease; its shards go to others',
  'edge-recovered': 'the edge is not cut off any more, or not heard',
  'assignment-invalid':
    'what is stored cannot be understood; the last good assignment stays in force',
  'edge-rejected': 'a process was not let in as this edge',
  'report-rejected': 'a report of this edge makes no sense; it lives, but its load is unknown',
};

const event = z
  .object({
    id: count.describe('Grows by one within the life of a control.'),
    atMs: count.describe('Unix time in milliseconds.'),
    position,
    type: z.enum(Object.keys(EVENT_TYPES) as LogEntry['type'][]),
    edgeId: z.string().optional(),
    from: z.string().optional(),
    to: z.string().optional(),
    shard: count.optional(),
    shards: count.optional().describe('How many.'),
    intent: intent.optional(),
    incarnation: count.optional(),
    action: z.string().optional().describe('What an operator did.'),
    actor: z.string().optional().describe('The name of the token, or local.'),
    reason: z.string().optional(),
    controlId: z.string().optional(),
  })
  .describe('The type says which of the fields from edgeId on are there.');

export const eventsAnswer = z.object({ events: z.array(event).describe('Oldest first.') });

const setting = z.union([z.string(), z.number(), z.array(z.string())]);

export const settingsAnswer = z.object({
  settings: z.record(z.string(), setting).describe('By name. Without secrets.'),
});

export type MovesAnswer = z.infer<typeof movesAnswer>;
export type PlanAnswer = z.infer<typeof planAnswer>;
export type EventInfo = z.infer<typeof event>;
export type Setting = z.infer<typeof setting>;
export type Settings = Readonly<Record<string, Setting>>;

/** Schemas of responses about moves, plans, events and settings; see cluster-responses.ts. */
import { z } from 'zod';
import type { LogEntry } from '../leadership/operations.js';
import { DRAIN_DELAYS, type DrainDelay } from '../pace/drain-delay.js';
import { count, intent, move, position } from './cluster-responses.js';

const seconds = z
  .number()
  .min(0)
  .nullable()
  .describe('Estimated seconds until completion. Null: unknown, or the pace is 0.');

const drain = z.object({
  edgeId: z.string(),
  shardsPending: count.describe('Shards that no other edge acquires yet.'),
  shardsMoving: count.describe('Shards that are being moved.'),
  clientsRemaining: count.nullable(),
  secondsRemaining: seconds,
  waitingFor: z
    .object({ clients: count, clientIds: z.array(z.string()).describe('Up to ten of them.') })
    .nullable()
    .describe(
      'Clients that have returned after their GOAWAY, because they know no other address. They are ' +
        'served until the deadline of the drain, or until the process is stopped. Null: none, or ' +
        'GOAWAYs are pending.',
    ),
  delayedBy: z
    .enum(Object.keys(DRAIN_DELAYS) as DrainDelay[])
    .nullable()
    .describe(
      `Why the drain makes no progress, or little. ${Object.entries(DRAIN_DELAYS)
        .map(([delay, meaning]) => `${delay}: ${meaning}.`)
        .join(' ')} Null: nothing delays it.`,
    ),
  finished: z.boolean().describe('True: the edge is empty and its process may stop.'),
});

export const movesResponse = z.object({
  inFlight: z
    .array(
      move.extend({
        clientsRemaining: count.nullable().describe('Clients of the shard still on `from`.'),
      }),
    )
    .describe('Moves in progress.'),
  pending: count.describe('Planned moves that have not started.'),
  paused: z.boolean(),
  frozenUntilMs: count
    .nullable()
    .describe(
      'Unix time in milliseconds, by the clock of control, until which no edge is declared lost, as ' +
        'most edges vanished at once. Null: not frozen.',
    ),
  frozenRemainingMs: count.nullable().describe('Milliseconds until then. Null: not frozen.'),
  perSecond: z.number().describe('GOAWAYs per second, cluster-wide.'),
  paceReason: z
    .enum(['idle', 'pressure', 'held', 'stopped', 'nothing-to-do'])
    .describe(
      'Reason for the current pace. Idle: the receiving edges have spare capacity. Pressure: one ' +
        'of them is overloaded. Held: a report is missing. Stopped: a receiving edge has died.',
    ),
  secondsRemaining: seconds,
  drains: z.array(drain),
});

const ratio = z.number().describe('1 is even.');

export const planResponse = z.object({
  on: position,
  shards: count.describe('Shards to move.'),
  clients: count.describe('Clients to move.'),
  churn: z
    .object({ removal: count, addition: count, balancing: count })
    .describe('Clients to move, by reason: edges that leave, edges that joined, balance.'),
  transfers: z
    .array(z.object({ from: z.string(), to: z.string(), shards: z.array(count), clients: count }))
    .describe('Largest first.'),
  maxOverMean: z
    .object({ before: ratio, after: ratio })
    .describe('Largest load of an edge divided by the mean.'),
  irreducible: z
    .array(count)
    .describe('Shards that alone exceed the fair load of any edge; moving them would not help.'),
  reconnectsPerSecond: z.number(),
  secondsRemaining: seconds,
});

export const intentResponse = z.object({ edgeId: z.string(), intent });

/** All types of events, with their meaning. */
export const EVENT_TYPES: Readonly<Record<LogEntry['type'], string>> = {
  'history-abandoned': 'Redis lost writes; versions continue in a higher incarnation',
  'edge-joined': 'an edge joined the cluster',
  'edge-left': 'an edge left the cluster; `shards` is how many it owned',
  'edge-restarted': 'another process took over the id of an edge',
  'intent-changed': 'an edge is draining, cordoned, or neither any more',
  'move-started': 'a move started: the receiving edge acquires the shard',
  'move-handed-over': 'the receiving edge owns the shard; the other one sends its clients there',
  'move-completed': 'a move completed',
  'move-rolled-back': 'a move was cancelled; the shard stays with its previous owner',
  'shards-placed': '`shards` shards changed owner without a move',
  'balancing-started': 'balancing started; it continues under any leader',
  'balancing-finished': 'the edges are balanced, or an operator aborted balancing',
  operator: 'an operator performed an action',
  'clients-disconnected':
    'a disconnect by a filter ended after `clients` clients; `reason` is finished, cancelled or interrupted',
  'leader-changed': 'another control leads',
  frozen: 'most edges vanished at once; nothing is decided until they return or are confirmed lost',
  unfrozen: 'decisions resume',
  'edge-partitioned': 'an edge was not ready for longer than a lease; other edges get its shards',
  'edge-recovered': 'an edge is no longer partitioned, or its session ended',
  'assignment-invalid': 'the stored assignment is invalid; the last valid one stays in force',
  'edge-rejected': 'a process was rejected under this edge id',
  'client-reconnecting':
    'connections of a client end again and again; `ends` is how many did in the last minute, and ' +
    '`reason` why the latest ended',
  'push-skipped':
    'a durable push was removed from its inbox because it cannot be delivered; `reason` is ' +
    'too_large, over_limit, disconnects or corrupt',
  'report-rejected': 'a report of an edge is implausible; it is alive, but its load is unknown',
};

const event = z
  .object({
    id: count.describe('Grows from event to event, also over restarts and changes of the leader.'),
    atMs: count.describe('Unix time in milliseconds.'),
    position,
    type: z.enum(Object.keys(EVENT_TYPES) as LogEntry['type'][]),
    edgeId: z.string().optional(),
    from: z.string().optional(),
    to: z.string().optional(),
    shard: count.optional(),
    shards: count.optional().describe('Number of shards.'),
    intent: intent.optional(),
    incarnation: count.optional(),
    action: z.string().optional().describe('Action of an operator.'),
    actor: z.string().optional().describe('Name of the token, or `local`.'),
    reason: z.string().optional(),
    controlId: z.string().optional(),
    clientId: z.string().optional(),
    messageId: z.string().optional(),
    clients: count.optional().describe('Number of clients.'),
    detail: z.string().optional().describe('What an operator asked for, such as a filter.'),
    ends: count.optional().describe('Connections of the client that ended in the last minute.'),
  })
  .describe('The type determines which of the fields from edgeId on are present.');

export const eventsResponse = z.object({ events: z.array(event).describe('Oldest first.') });

export const blockResponse = z.object({
  name: z.string().describe('A clientId or a user.'),
  remainingMs: count.describe('Milliseconds for which it may not connect.'),
});

export const blocksResponse = z.object({ blocks: z.array(blockResponse).describe('By name.') });

export const unblockResponse = z.object({ name: z.string(), wasBlocked: z.boolean() });

const setting = z.union([z.string(), z.number(), z.array(z.string())]);

export const settingsResponse = z.object({
  settings: z.record(z.string(), setting).describe('By name; secrets are omitted.'),
});

export type MovesResponse = z.infer<typeof movesResponse>;
export type PlanResponse = z.infer<typeof planResponse>;
export type BlocksResponse = z.infer<typeof blocksResponse>;
export type UnblockResponse = z.infer<typeof unblockResponse>;
export type EventInfo = z.infer<typeof event>;
export type Setting = z.infer<typeof setting>;
export type Settings = Readonly<Record<string, Setting>>;

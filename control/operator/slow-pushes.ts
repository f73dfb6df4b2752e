/** The slowest pushes of the last minute, as the routers have reported them. Pure. */
import { z } from 'zod';
import { flightRecord, flightRecordOf } from '../../common/http/flight-steps.js';
import { type SlowPush, SlowPushCause } from '../../proto/gen/longline/v1/assignment.js';
import { Verdict } from '../../proto/gen/longline/v1/push.js';
import type { RouterRecord } from '../leadership/load-history.js';
import { count } from './cluster-responses.js';

const KEPT_MS = 60_000;

export const slowPushesQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1_000).default(20).describe('Most pushes to return.'),
});

/** The names of causes, with their meaning. */
export const CAUSES = {
  router: 'the event loop of the router had other work',
  redis: 'Redis replied late: its network, its load, its disk or its replicas',
  'redis-silent': 'Redis did not reply until the end of the wait',
  edge: 'an edge replied late: its load, or the network between Redis and it',
  'edge-silent': 'not every edge that received the push had replied at the end of the wait',
  'no-owner': 'no edge that owns the shard received the push: it is moving, or its edge has gone',
  unknown: 'the push took too short to tell',
} as const;

type Cause = keyof typeof CAUSES;

export const slowPush = z.object({
  clientId: z.string(),
  routerId: z.string(),
  verdict: z.string().describe('What became of the push, such as `WRITTEN`.'),
  messageId: z
    .string()
    .nullable()
    .describe('Null: the push is live-only, or Redis did not reply in time.'),
  payloadBytes: count,
  totalMs: z
    .number()
    .min(0)
    .describe(
      'Milliseconds from the request to the verdict, without the wait for the confirmation of the device.',
    ),
  redisMs: z
    .number()
    .min(0)
    .nullable()
    .describe('From the request until Redis had replied, to about 20 ms. Null: it did not.'),
  edgesMs: z
    .number()
    .min(0)
    .nullable()
    .describe('From the request until the last edge had replied, to about 20 ms. Null: none has.'),
  cause: z.enum(Object.keys(CAUSES) as Cause[]).describe(
    `What the push has waited for longest. ${Object.entries(CAUSES)
      .map(([cause, meaning]) => `${cause}: ${meaning}.`)
      .join(' ')}`,
  ),
  ageMs: count.describe('Milliseconds since the verdict.'),
  flightRecord,
});

export const slowPushesResponse = z.object({
  pushes: z.array(slowPush).describe('The slowest first; of each router, at most 20.'),
});

export type SlowPushInfo = z.infer<typeof slowPush>;
export type SlowPushesResponse = z.infer<typeof slowPushesResponse>;

/** A push as its router has reported it, with its age now. */
interface Reported {
  readonly routerId: string;
  readonly push: SlowPush;
}

/** The slowest first. */
export function slowestPushes(
  routers: readonly RouterRecord[],
  limit: number,
  nowMs: number,
): Reported[] {
  return routers
    .flatMap(({ load, heardAtMs }) =>
      load.slowPushes.map((push) => ({
        routerId: load.routerId,
        push: { ...push, ageMs: Math.round(push.ageMs + nowMs - heardAtMs) },
      })),
    )
    .filter(({ push }) => push.ageMs < KEPT_MS)
    .sort((a, b) => b.push.totalMs - a.push.totalMs)
    .slice(0, limit);
}

export function describeSlowPush({ routerId, push }: Reported): SlowPushInfo {
  const { verdict, messageId, cause, redisMs, edgesMs, flightRecord: record, ...rest } = push;
  const name = SlowPushCause[cause]?.replace('SLOW_PUSH_CAUSE_', '');
  const spelt = name?.toLowerCase().replaceAll('_', '-') ?? '';
  return {
    ...rest,
    routerId,
    verdict: Verdict[verdict]?.replace('VERDICT_', '') ?? `${verdict}`,
    messageId: messageId || null,
    redisMs: redisMs ?? null,
    edgesMs: edgesMs ?? null,
    cause: spelt in CAUSES ? (spelt as Cause) : 'unknown',
    ...flightRecordOf(record),
  };
}

import { status } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import { Counter, Histogram } from 'prom-client';
import { ShardTotals } from '../../../common/cluster/ledger/shard-totals.js';
import { rejection } from '../../../common/process/errors.js';
import { createAssignmentService } from '../../../control/links/assignment-service.js';
import {
  type RouterLoad,
  type SlowPush,
  SlowPushCause,
} from '../../../proto/gen/longline/v1/assignment.js';
import { FlightEvent, Verdict } from '../../../proto/gen/longline/v1/push.js';
import { readLoad } from '../../../router/lookup/load-report.js';

const slow: SlowPush = {
  clientId: 'alice',
  verdict: Verdict.VERDICT_WRITTEN,
  messageId: '5-0',
  payloadBytes: 5,
  totalMs: 120,
  redisMs: 100,
  edgesMs: 110,
  cause: SlowPushCause.SLOW_PUSH_CAUSE_REDIS,
  ageMs: 3_000,
  flightRecord: undefined,
};

const good: RouterLoad = {
  routerId: 'router-1',
  incarnation: 'i1',
  stored: { shards: [3], pushes: [2], unanswered: 1 },
  verdicts: [{ verdict: 'WRITTEN', pushes: 3 }],
  latencies: [
    { seconds: 0.01, pushes: 2 },
    { seconds: 0.1, pushes: 0 },
    { seconds: Number.POSITIVE_INFINITY, pushes: 1 },
  ],
  slowPushes: [slow],
  version: '0.2.0',
  commit: '1a2b3c4',
  settings: { LONGLINE_AUTH: 7 },
};

const step = { event: FlightEvent.FLIGHT_EVENT_HEARD, place: 'edge-1', afterUs: 1, errorUs: 1 };

/** Reports a load to a control. Resolves with the status of a rejection, and what it received. */
async function report(load: RouterLoad | undefined, isLeader = true) {
  const received: RouterLoad[] = [];
  const onRouterLoad = (each: RouterLoad) => {
    if (!isLeader) return rejection('NOT_LEADER', 'control-2 leads');
    received.push(each);
    return undefined;
  };
  const service = createAssignmentService({ onRouterLoad } as never, {} as never);
  const code = await new Promise<number | undefined>((resolve) => {
    const call = { request: { load } } as Parameters<typeof service.reportLoad>[0];
    service.reportLoad(call, (error) => resolve((error as { code: number } | null)?.code));
  });
  return { code, received };
}

test('a router reports its metrics, and the leader takes them', async () => {
  const pushes = new Counter({ name: 'p', help: 'p', labelNames: ['verdict'], registers: [] });
  const seconds = new Histogram({ name: 's', help: 's', buckets: [0.01, 0.1], registers: [] });
  pushes.inc({ verdict: 'VERDICT_WRITTEN' }, 3);
  pushes.inc({ verdict: 'VERDICT_STORED' }, 0);
  for (const each of [0.001, 0.002, 7]) seconds.observe(each);
  const stored = new ShardTotals(8);
  stored.add(3, 2);
  stored.onUnanswered();
  const { routerId, incarnation, version, commit, settings } = good;
  const identity = { routerId, incarnation, version, commit, settings };
  expect(await readLoad({ pushes, seconds, stored }, identity, [slow])).toEqual(good);
  expect(await report(good)).toEqual({ code: undefined, received: [good] });
  expect(await report(good, false)).toEqual({ code: status.UNAVAILABLE, received: [] });
});

test.each<Partial<RouterLoad> | undefined>([
  undefined,
  { routerId: '' },
  { routerId: '<b>' },
  { incarnation: 'i'.repeat(129) },
  { verdicts: Array.from({ length: 33 }, () => ({ verdict: 'WRITTEN', pushes: 1 })) },
  { verdicts: [{ verdict: 'x'.repeat(33), pushes: 1 }] },
  { latencies: [{ seconds: Number.NaN, pushes: 1 }] },
  { latencies: [{ seconds: 0, pushes: 1 }] },
  { slowPushes: Array.from({ length: 21 }, () => slow) },
  { slowPushes: [{ ...slow, clientId: 'x'.repeat(257) }] },
  { slowPushes: [{ ...slow, totalMs: Number.NaN }] },
  { slowPushes: [{ ...slow, flightRecord: { steps: Array.from({ length: 65 }, () => step) } }] },
  { version: 'v'.repeat(129) },
  { settings: { '<b>': 1 } },
])('the report %j is rejected', async (change) => {
  const load = change && { ...good, ...change };
  expect(await report(load)).toEqual({ code: status.INVALID_ARGUMENT, received: [] });
});

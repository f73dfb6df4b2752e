import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { LoadHistory } from '../../../control/leadership/load-history.js';
import { slowPushesResponse } from '../../../control/operator/slow-pushes.js';
import { type SlowPush, SlowPushCause } from '../../../proto/gen/longline/v1/assignment.js';
import type { ListSlowPushesResponse } from '../../../proto/gen/longline/v1/operator.js';
import { FlightEvent, Verdict } from '../../../proto/gen/longline/v1/push.js';
import { ask, call, type OperatedControl, startOperatedControl } from './operated-control.js';

let control: OperatedControl;
beforeEach(async () => {
  control = await startOperatedControl();
});
afterEach(() => control.stop());

const get = async (query = '') =>
  slowPushesResponse.strict().parse((await ask(`${control.url}/v1/slow-pushes${query}`)).body)
    .pushes;

function slowPush(totalMs: number, change: Partial<SlowPush> = {}): SlowPush {
  return {
    clientId: `took-${totalMs}`,
    verdict: Verdict.VERDICT_STORED,
    messageId: '5-0',
    payloadBytes: 12,
    totalMs,
    redisMs: 5,
    edgesMs: undefined,
    cause: SlowPushCause.SLOW_PUSH_CAUSE_EDGE_SILENT,
    ageMs: 1_000,
    flightRecord: undefined,
    ...change,
  };
}

function report(history: LoadHistory, routerId: string, ...slowPushes: SlowPush[]): void {
  const load = {
    routerId,
    incarnation: routerId,
    ...{ version: '', commit: '', settings: {} },
    stored: undefined,
    verdicts: [],
    latencies: [],
    slowPushes,
  };
  history.onRouter(load, performance.now());
}

test('/v1/slow-pushes has the newest reports of all routers, the slowest first', async () => {
  expect(await get()).toEqual([]);
  const history = new LoadHistory(0);
  const step = {
    event: FlightEvent.FLIGHT_EVENT_RECEIVED,
    place: 'router-2',
    afterUs: 0,
    errorUs: 0,
  };
  report(history, 'router-1', slowPush(900));
  report(history, 'router-1', slowPush(300), slowPush(200, { ageMs: 60_000 }));
  report(history, 'router-2', slowPush(2_000, { flightRecord: { steps: [step] } }), slowPush(7));
  control.state.snapshot = { ...control.state.snapshot, history };
  const pushes = await get();
  expect(pushes.map(({ clientId, routerId }) => [clientId, routerId])).toEqual([
    ['took-2000', 'router-2'],
    ['took-300', 'router-1'],
    ['took-7', 'router-2'],
  ]);
  expect(pushes[0]).toMatchObject({
    verdict: 'STORED',
    cause: 'edge-silent',
    redisMs: 5,
    edgesMs: null,
    flightRecord: [{ event: 'RECEIVED', place: 'router-2', afterUs: 0, errorUs: 0 }],
  });
  expect(pushes[0]!.ageMs).toBeGreaterThanOrEqual(1_000);
  expect(await get('?limit=1')).toHaveLength(1);
  expect((await ask(`${control.url}/v1/slow-pushes?limit=0`)).status).toBe(400);
  const wire = await call<ListSlowPushesResponse>((done) =>
    control.grpc.listSlowPushes({ limit: 2 }, done),
  );
  expect(wire.pushes.map(({ routerId, push }) => [routerId, push!.clientId])).toEqual([
    ['router-2', 'took-2000'],
    ['router-1', 'took-300'],
  ]);
});

test('a cause of a newer router is unknown', async () => {
  const history = new LoadHistory(0);
  report(history, 'router-1', slowPush(1, { cause: 99 as SlowPushCause, messageId: '' }));
  control.state.snapshot = { ...control.state.snapshot, history };
  expect(await get()).toMatchObject([{ cause: 'unknown', messageId: null }]);
});

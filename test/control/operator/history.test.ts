import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { LoadHistory, POINT_MS } from '../../../control/leadership/load-history.js';
import { historyResponse } from '../../../control/operator/cluster-responses.js';
import { ask, type OperatedControl, startOperatedControl } from './operated-control.js';

let control: OperatedControl;
beforeEach(async () => {
  control = await startOperatedControl();
});
afterEach(() => control.stop());

const get = async () =>
  historyResponse.strict().parse((await ask(`${control.url}/v1/history`)).body);

test('/v1/history is empty at a control that does not lead', async () => {
  expect(await get()).toMatchObject({
    atMs: [],
    connections: [],
    pushesPerSecond: {},
    routers: [],
  });
});

test('/v1/history has a list for each number, of equal length', async () => {
  const history = new LoadHistory(0);
  const report = (pushes: number) => {
    const load = {
      routerId: 'router-1',
      incarnation: 'i1',
      stored: undefined,
      ...{ version: '', commit: '', settings: {} },
      verdicts: [{ verdict: 'STORED', pushes }],
      latencies: [{ seconds: 0.01, pushes }],
      slowPushes: [],
    };
    history.onRouter(load, performance.now());
  };
  report(0);
  history.tick([], POINT_MS);
  report(10);
  history.onEvent();
  history.tick([], 2 * POINT_MS);
  control.state.snapshot = { ...control.state.snapshot, history };
  expect(await get()).toEqual({
    intervalMs: POINT_MS,
    atMs: [expect.any(Number), expect.any(Number)],
    connections: [0, 0],
    connectsPerSecond: [0, 0],
    eventsPerSecond: [0, 0.2],
    pushesPerSecond: { STORED: [0, 2] },
    p50Ms: [null, 5],
    p99Ms: [null, 9.9],
    routers: [{ id: 'router-1', lastReportAgeMs: expect.any(Number) }],
  });
});

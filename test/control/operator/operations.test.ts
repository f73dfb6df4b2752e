import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { rejection } from '../../../common/process/errors.js';
import { clientResponse, errorResponse } from '../../../control/operator/cluster-responses.js';
import {
  intentResponse,
  movesResponse,
  planResponse,
  settingsResponse,
} from '../../../control/operator/operation-responses.js';
import { EdgeIntent } from '../../../proto/gen/longline/v1/assignment.js';
import type {
  GetMovesResponse,
  ListEdgesResponse,
  LocateClientResponse,
  PauseResponse,
  PlanRebalanceResponse,
  RebalanceResponse,
  SetIntentResponse,
} from '../../../proto/gen/longline/v1/operator.js';
import { idle, somePlan } from './fake-operations.js';
import { ask, call, type OperatedControl, startOperatedControl } from './operated-control.js';

let control: OperatedControl;

beforeEach(async () => {
  control = await startOperatedControl();
});
afterEach(() => control.stop());

const by = (reason: string) => ({ actor: 'local', reason });
const noOptions = { perSecondMax: undefined, deadlineMs: undefined, isForced: false };
const drain = {
  edgeId: 'edge-2',
  shardsPending: 3,
  shardsMoving: 1,
  clientsRemaining: undefined,
  secondsRemaining: undefined,
  waitingFor: undefined,
  isFinished: false,
};

test('/v1/moves distinguishes unknown from zero', async () => {
  control.operations.info = {
    ...idle,
    inFlight: [
      { shard: 1, from: 'edge-1', to: 'edge-2', phase: 'acquiring', clientsRemaining: undefined },
      { shard: 2, from: 'edge-1', to: 'edge-2', phase: 'handing-over', clientsRemaining: 0 },
    ],
    secondsRemaining: Number.POSITIVE_INFINITY,
    drains: [drain],
  };
  const { body } = await ask(`${control.url}/v1/moves`);
  expect(movesResponse.strict().parse(body)).toMatchObject({
    inFlight: [{ phase: 'acquiring', clientsRemaining: null }, { clientsRemaining: 0 }],
    paused: false,
    frozenUntilMs: null,
    frozenRemainingMs: null,
    secondsRemaining: null,
    drains: [{ edgeId: 'edge-2', clientsRemaining: null, secondsRemaining: null, finished: false }],
  });
  const { moves } = await call<GetMovesResponse>((done) => control.grpc.getMoves({}, done));
  expect(moves).toMatchObject({
    inFlight: [{ clientsRemaining: undefined }, { clientsRemaining: 0 }],
    frozenUntilMs: undefined,
    frozenRemainingMs: undefined,
    drains: [{ clientsRemaining: undefined }],
  });
});

test('/v1/plan returns the plan and starts nothing', async () => {
  const { body } = await ask(`${control.url}/v1/plan`);
  expect(planResponse.strict().parse(body)).toEqual(somePlan);
  const { plan } = await call<PlanRebalanceResponse>((done) =>
    control.grpc.planRebalance({}, done),
  );
  expect(plan).toMatchObject({ clients: 1_200, maxOverMeanBefore: 1.5, maxOverMeanAfter: 1.04 });
  expect(control.operations.calls).toEqual([]);
});

test('/v1/rebalance passes the plan that was shown, the actor and the reason', async () => {
  const { body } = await ask(`${control.url}/v1/rebalance`, { on: somePlan.on, reason: 'hot' });
  expect(planResponse.strict().parse(body)).toEqual(somePlan);
  await ask(`${control.url}/v1/rebalance`, {});
  const answer = await call<RebalanceResponse>((done) =>
    control.grpc.rebalance({ on: somePlan.on, reason: 'grpc' }, done),
  );
  expect(answer.plan?.shards).toBe(3);
  expect(control.operations.calls).toEqual([
    ['rebalance', somePlan.on, by('hot')],
    ['rebalance', undefined, by('')],
    ['rebalance', somePlan.on, by('grpc')],
  ]);
});

test.each(['pause', 'resume', 'abort', 'confirm-lost-edges'] as const)(
  '/v1/%s',
  async (operation) => {
    const isPaused = operation === 'pause' || operation === 'abort';
    const answer = await ask(`${control.url}/v1/${operation}`, { reason: 'so' });
    expect(answer.status).toBe(200);
    expect(movesResponse.strict().parse(answer.body).paused).toBe(isPaused);
    const { moves } = await call<PauseResponse>((done) =>
      control.grpc[operation === 'confirm-lost-edges' ? 'confirmLostEdges' : operation](
        { reason: 'grpc' },
        done,
      ),
    );
    expect(moves?.paused).toBe(isPaused);
    expect(control.operations.calls).toEqual([
      [operation, by('so')],
      [operation, by('grpc')],
    ]);
  },
);

test('an edge is drained, and the drain is cancelled', async () => {
  const edge = `${control.url}/v1/edges/edge-2`;
  const body = { rate: 500, deadlineMs: 300_000, reason: 'old' };
  const drained = await ask(`${edge}/drain`, body);
  expect(intentResponse.strict().parse(drained.body)).toEqual({
    edgeId: 'edge-2',
    intent: 'draining',
  });
  expect(await ask(`${edge}/drain`, body)).toMatchObject({
    status: 409,
    body: { error: { code: 'INTENT_UNCHANGED' } },
  });
  expect((await ask(`${edge}/undrain`, {})).body.intent).toBe('none');
  expect((await ask(`${edge}/cordon`, { force: true })).body.intent).toBe('cordoned');
  const options = { perSecondMax: 500, deadlineMs: 300_000, isForced: false };
  expect(control.operations.calls).toEqual([
    ['setIntent', 'edge-2', 'draining', options, by('old')],
    ['setIntent', 'edge-2', 'draining', options, by('old')],
    ['setIntent', 'edge-2', 'none', noOptions, by('')],
    ['setIntent', 'edge-2', 'cordoned', { ...noOptions, isForced: true }, by('')],
  ]);
});

test('the last edge is drained only with force', async () => {
  await ask(`${control.url}/v1/edges/edge-1/cordon`, {});
  const url = `${control.url}/v1/edges/edge-2/drain`;
  expect(await ask(url, {})).toMatchObject({ status: 409, body: { error: { code: 'LAST_EDGE' } } });
  expect((await ask(url, { force: true })).status).toBe(200);
});

test('gRPC sets intents within the same bounds', async () => {
  const request = { edgeId: 'edge-2', rate: undefined, deadlineMs: undefined, force: false };
  const set = (intent: EdgeIntent, rest = {}) =>
    call<SetIntentResponse>((done) =>
      control.grpc.setIntent({ ...request, reason: '', intent, ...rest }, done),
    );
  const draining = EdgeIntent.EDGE_INTENT_DRAINING;
  expect(await set(draining, { rate: 5 })).toEqual({ edgeId: 'edge-2', intent: draining });
  expect(control.operations.calls[0]![3]).toEqual({ ...noOptions, perSecondMax: 5 });
  await expect(set(draining)).rejects.toMatchObject({
    code: status.ALREADY_EXISTS,
    details: expect.stringContaining('INTENT_UNCHANGED'),
  });
  const malformed = { code: status.INVALID_ARGUMENT };
  await expect(set(draining, { rate: 0 })).rejects.toMatchObject(malformed);
  await expect(set(EdgeIntent.EDGE_INTENT_CORDONED, { rate: 5 })).rejects.toMatchObject(malformed);
  await expect(set(9 as EdgeIntent)).rejects.toMatchObject(malformed);
  await expect(set(draining, { reason: 'x'.repeat(257) })).rejects.toMatchObject(malformed);
  await expect(
    call<PauseResponse>((done) => control.grpc.pause({ reason: '\n' }, done)),
  ).rejects.toMatchObject(malformed);
});

test('NOT_LEADER has the location of the leader if it is known', async () => {
  control.operations.rejected = rejection(
    'NOT_LEADER',
    'control-2 leads: http://10.0.0.2:7200, ask it',
  );
  const pause = await ask(`${control.url}/v1/pause`, {});
  expect(pause.status).toBe(503);
  expect(errorResponse.parse(pause.body).error.code).toBe('NOT_LEADER');
  expect(pause.headers.get('location')).toBe('http://10.0.0.2:7200/v1/pause');
  control.operations.planned = rejection('NOT_LEADER', 'control-2 leads');
  const plan = await ask(`${control.url}/v1/plan`);
  expect([plan.status, plan.headers.get('location')]).toEqual([503, null]);
  await expect(
    call<PlanRebalanceResponse>((done) => control.grpc.planRebalance({}, done)),
  ).rejects.toMatchObject({ code: status.UNAVAILABLE });
});

const DRAIN = '/v1/edges/edge-2/drain';

test.each([
  ['an unknown field', '/v1/pause', { why: 'x' }],
  ['a field of another operation', '/v1/edges/edge-2/cordon', { rate: 5 }],
  ['a string for a number', DRAIN, { rate: '5' }],
  ['a rate of 0', DRAIN, { rate: 0 }],
  ['half a deadline', DRAIN, { deadlineMs: 0.5 }],
  ['a deadline in the past', DRAIN, { deadlineMs: -1 }],
  ['half a position', '/v1/rebalance', { on: { epoch: 7 } }],
  ['more than a position', '/v1/rebalance', { on: { ...somePlan.on, extra: 1 } }],
  ['a reason with a line break', '/v1/pause', { reason: 'a\nb' }],
  ['a long reason', '/v1/pause', { reason: 'x'.repeat(257) }],
  ['a list', '/v1/pause', []],
  ['null', '/v1/pause', 'null'],
  ['an empty body', '/v1/pause', ''],
  ['invalid JSON', '/v1/pause', '{'],
  ['a prototype', '/v1/pause', '{"__proto__":{"reason":"x"}}'],
])('rejects %s', async (_, path, body) => {
  const answer = await ask(`${control.url}${path}`, body);
  expect(answer.status).toBe(400);
  expect(errorResponse.strict().parse(answer.body).error.code).toBe('REQUEST_MALFORMED');
  expect(control.operations.calls).toEqual([]);
});

test('rejects content types that a page of another origin can send without a preflight', async () => {
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp']) {
    const answer = await ask(`${control.url}/v1/pause`, '{}', { 'content-type': type });
    expect(answer).toMatchObject({ status: 400, body: { error: { code: 'REQUEST_MALFORMED' } } });
  }
  const bare = await fetch(`${control.url}/v1/pause`, { method: 'POST' });
  expect(bare.status).toBe(400);
  const utf8 = { 'content-type': 'application/json; charset=utf-8' };
  expect((await ask(`${control.url}/v1/pause`, '{}', utf8)).status).toBe(200);
});

test('rejects a body over the maximum', async () => {
  const answer = await ask(`${control.url}/v1/pause`, { reason: 'x'.repeat(5_000) });
  expect(answer).toMatchObject({ status: 413, body: { error: { code: 'PAYLOAD_TOO_LARGE' } } });
});

test('rejects a write by GET, and an unknown edge', async () => {
  const wrong = await ask(`${control.url}${DRAIN}`);
  expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'POST']);
  for (const id of ['unknown', 'a%2Fb']) {
    expect((await ask(`${control.url}/v1/edges/${id}/drain`, {})).status).toBe(404);
  }
});

test('/v1/settings', async () => {
  const { body } = await ask(`${control.url}/v1/settings`);
  expect(settingsResponse.strict().parse(body).settings).toEqual({
    LONGLINE_CONTROL_LEASE_MS: 10_000,
  });
});

test('the move of a client’s shard and the intents of edges are returned', async () => {
  const { snapshot } = control.state;
  const assignment = snapshot.assignment!;
  const phase = 'acquiring' as const;
  control.state.snapshot = {
    ...snapshot,
    assignment: {
      ...assignment,
      edges: assignment.edges.map((edge) => ({ ...edge, intent: 'draining' })),
      moves: [0, 1, 2, 3].map((shard) => ({
        shard,
        from: shard < 2 ? 'edge-1' : 'edge-2',
        to: shard < 2 ? 'edge-2' : 'edge-1',
        phase,
      })),
    },
  };
  const { body } = await ask(`${control.url}/v1/clients/alice`);
  const { move, shard, owner } = clientResponse.strict().parse(body);
  expect(move).toMatchObject({ shard, from: owner, phase: 'acquiring' });
  const located = await call<LocateClientResponse>((done) =>
    control.grpc.locateClient({ clientId: 'alice' }, done),
  );
  expect(located.move).toMatchObject({ shard, from: owner });
  const { edges } = await call<ListEdgesResponse>((done) => control.grpc.listEdges({}, done));
  expect(edges.map(({ intent }) => intent)).toEqual([
    EdgeIntent.EDGE_INTENT_DRAINING,
    EdgeIntent.EDGE_INTENT_DRAINING,
  ]);
});

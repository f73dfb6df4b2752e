import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Access } from '../../../control/operator/access.js';
import type {
  GetMovesResponse,
  PauseResponse,
  WatchEventsResponse,
} from '../../../proto/gen/longline/v1/operator.js';
import { guarded, OPERATOR, VIEWER } from './fake-operations.js';
import { ask, call, type SteeredControl, startSteeredControl } from './operated-control.js';

let control: SteeredControl;

beforeEach(async () => {
  control = await startSteeredControl(guarded);
});
afterEach(() => control.stop());

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

function metadata(token?: string): Metadata {
  const shown = new Metadata();
  if (token !== undefined) shown.set('authorization', `Bearer ${token}`);
  return shown;
}

const READS = ['cluster', 'edges', 'edges/edge-1', 'shards', 'clients/alice', 'moves', 'plan'];
const WRITES = [
  'rebalance',
  'pause',
  'resume',
  'abort',
  'confirm-lost-edges',
  'edges/edge-1/drain',
];

test.each([...READS, 'events', 'settings'])('who reads /v1/%s shows a token', async (path) => {
  const url = `${control.url}/v1/${path}`;
  const stranger = await ask(url);
  expect(stranger).toMatchObject({ status: 401, body: { error: { code: 'UNAUTHENTICATED' } } });
  expect(stranger.headers.get('www-authenticate')).toBe('Bearer');
  expect((await ask(url, undefined, bearer(`${VIEWER}x`))).status).toBe(401);
  expect((await ask(url, undefined, bearer(VIEWER))).status).toBe(200);
  expect((await ask(url, undefined, bearer(OPERATOR))).status).toBe(200);
});

test.each(WRITES)('who writes /v1/%s shows an operator’s token', async (path) => {
  const url = `${control.url}/v1/${path}`;
  // Rejected before the body is looked at.
  expect((await ask(url, '{')).status).toBe(401);
  expect(await ask(url, '{', bearer(VIEWER))).toMatchObject({
    status: 403,
    body: { error: { code: 'PERMISSION_DENIED', message: expect.stringContaining('vic') } },
  });
  expect(control.operations.told).toEqual([]);
  expect((await ask(url, {}, bearer(OPERATOR))).status).toBe(200);
  expect(control.operations.told[0]!.at(-1)).toEqual({ actor: 'ada', reason: '' });
});

test.each(['', 'Bearer', 'Bearer ', `Basic ${VIEWER}`, VIEWER, `Bearer ${VIEWER} x`])(
  'does not take %j for a token',
  async (authorization) => {
    expect((await ask(`${control.url}/v1/moves`, undefined, { authorization })).status).toBe(401);
  },
);

test.each(['/healthz', '/readyz', '/v1/openapi.json'])('%s stays open', async (path) => {
  expect((await ask(`${control.url}${path}`)).status).toBe(200);
});

test('a stream of events takes a token, too', async () => {
  const headers = { accept: 'text/event-stream' };
  expect((await ask(`${control.url}/v1/events`, undefined, headers)).status).toBe(401);
  expect(control.operations.watchers.size).toBe(0);
});

test('gRPC takes the same tokens', async () => {
  const { grpc } = control;
  const moves = (token?: string) =>
    call<GetMovesResponse>((done) => grpc.getMoves({}, metadata(token), done));
  const pause = (token?: string) =>
    call<PauseResponse>((done) => grpc.pause({ reason: '' }, metadata(token), done));
  await expect(moves()).rejects.toMatchObject({ code: status.UNAUTHENTICATED });
  expect((await moves(VIEWER)).moves?.pending).toBe(0);
  await expect(pause()).rejects.toMatchObject({ code: status.UNAUTHENTICATED });
  await expect(pause(VIEWER)).rejects.toMatchObject({
    code: status.PERMISSION_DENIED,
    details: expect.stringContaining('PERMISSION_DENIED'),
  });
  await pause(OPERATOR);
  expect(control.operations.told).toEqual([['pause', { actor: 'ada', reason: '' }]]);
  const watch = grpc.watchEvents({ after: 0 });
  const error = await new Promise<ServiceError>((resolve) => watch.once('error', resolve));
  expect(error.code).toBe(status.UNAUTHENTICATED);
  const heard = new Promise<WatchEventsResponse>((resolve) =>
    grpc
      .watchEvents({ after: 0 }, metadata(VIEWER))
      .once('data', resolve)
      .on('error', () => {}),
  );
  control.operations.log({ type: 'edge-joined', edgeId: 'edge-3' });
  expect((await heard).event?.edgeId).toBe('edge-3');
});

test('with viewers only, nobody may write', () => {
  const access = new Access([], guarded.viewers);
  expect(access.admit(undefined, 'write')).toMatchObject({ code: 'UNAUTHENTICATED' });
  expect(access.admit(`bearer ${VIEWER}`, 'read')).toBe('vic');
  expect(access.admit(`bearer ${VIEWER}`, 'write')).toMatchObject({ code: 'PERMISSION_DENIED' });
});

test('a token on both lists is an operator’s', () => {
  const access = new Access(guarded.operators, [...guarded.viewers, ...guarded.operators]);
  expect(access.admit(`Bearer ${OPERATOR}`, 'write')).toBe('ada');
});

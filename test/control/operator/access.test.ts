import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Access } from '../../../control/operator/access.js';
import type {
  GetMovesResponse,
  PauseResponse,
  WatchEventsResponse,
} from '../../../proto/gen/longline/v1/operator.js';
import { guarded, OPERATOR, VIEWER } from './fake-operations.js';
import { ask, call, type OperatedControl, startOperatedControl } from './operated-control.js';

let control: OperatedControl;

beforeEach(async () => {
  control = await startOperatedControl(guarded);
});
afterEach(() => control.stop());

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

function metadata(token?: string): Metadata {
  const result = new Metadata();
  if (token !== undefined) result.set('authorization', `Bearer ${token}`);
  return result;
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

test.each([...READS, 'events', 'settings'])('GET /v1/%s requires a token', async (path) => {
  const url = `${control.url}/v1/${path}`;
  const withoutToken = await ask(url);
  expect(withoutToken).toMatchObject({ status: 401, body: { error: { code: 'UNAUTHENTICATED' } } });
  expect(withoutToken.headers.get('www-authenticate')).toBe('Bearer');
  expect((await ask(url, undefined, bearer(`${VIEWER}x`))).status).toBe(401);
  expect((await ask(url, undefined, bearer(VIEWER))).status).toBe(200);
  expect((await ask(url, undefined, bearer(OPERATOR))).status).toBe(200);
});

test.each(WRITES)('POST /v1/%s requires an operator’s token', async (path) => {
  const url = `${control.url}/v1/${path}`;
  // Rejected before the body is parsed.
  expect((await ask(url, '{')).status).toBe(401);
  expect(await ask(url, '{', bearer(VIEWER))).toMatchObject({
    status: 403,
    body: { error: { code: 'PERMISSION_DENIED', message: expect.stringContaining('vic') } },
  });
  expect(control.operations.calls).toEqual([]);
  expect((await ask(url, {}, bearer(OPERATOR))).status).toBe(200);
  expect(control.operations.calls[0]!.at(-1)).toEqual({ actor: 'ada', reason: '' });
});

test.each(['', 'Bearer', 'Bearer ', `Basic ${VIEWER}`, VIEWER, `Bearer ${VIEWER} x`])(
  'rejects the header %j',
  async (authorization) => {
    expect((await ask(`${control.url}/v1/moves`, undefined, { authorization })).status).toBe(401);
  },
);

test.each(['/healthz', '/readyz', '/v1/openapi.json'])('%s requires no token', async (path) => {
  expect((await ask(`${control.url}${path}`)).status).toBe(200);
});

test('an event stream requires a token', async () => {
  const headers = { accept: 'text/event-stream' };
  expect((await ask(`${control.url}/v1/events`, undefined, headers)).status).toBe(401);
  expect(control.operations.watchers.size).toBe(0);
});

test('gRPC requires the same tokens', async () => {
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
  expect(control.operations.calls).toEqual([['pause', { actor: 'ada', reason: '' }]]);
  const watch = grpc.watchEvents({ after: '0' });
  const error = await new Promise<ServiceError>((resolve) => watch.once('error', resolve));
  expect(error.code).toBe(status.UNAUTHENTICATED);
  const received = new Promise<WatchEventsResponse>((resolve) =>
    grpc
      .watchEvents({ after: '0' }, metadata(VIEWER))
      .once('data', resolve)
      .on('error', () => {}),
  );
  control.operations.log({ type: 'edge-joined', edgeId: 'edge-3' });
  expect((await received).event?.edgeId).toBe('edge-3');
});

test('with viewers only, every write is rejected', () => {
  const access = new Access([], guarded.viewers);
  expect(access.authorize(undefined, 'write')).toMatchObject({ code: 'UNAUTHENTICATED' });
  expect(access.authorize(`bearer ${VIEWER}`, 'read')).toBe('vic');
  expect(access.authorize(`bearer ${VIEWER}`, 'write')).toMatchObject({
    code: 'PERMISSION_DENIED',
  });
});

test('a token on both lists has an operator’s permission', () => {
  const access = new Access(guarded.operators, [...guarded.viewers, ...guarded.operators]);
  expect(access.authorize(`Bearer ${OPERATOR}`, 'write')).toBe('ada');
});

/**
 * Goal: every control accepts every request, and a token goes to the leader only.
 * Method: two HTTP servers of controls with fake operations; one takes the other for the leader.
 */

import { once } from 'node:events';
import { createServer, get, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { FastifyInstance } from 'fastify';
import { ShardNames } from '../../../common/cluster/shard-names.js';
import { listenHttp } from '../../../common/http/server.js';
import { RedisNames } from '../../../common/redis/redis-names.js';
import type { Leader } from '../../../control/leadership/leadership.js';
import { forwardToLeader } from '../../../control/operator/http/forward-to-leader.js';
import { addOperatorRoutes } from '../../../control/operator/http/http-api.js';
import { OperatorQueries } from '../../../control/operator/queries.js';
import { eventually } from '../../support/eventually.js';
import { httpServerOf } from '../../support/http-server.js';
import { apiOf, FakeOperations, guarded, OPERATOR, sourcesOf, VIEWER } from './fake-operations.js';
import { ask, type OperatedControl, startOperatedControl } from './operated-control.js';

let leading: OperatedControl;
let follower: FastifyInstance;
let operations: FakeOperations;
let url: string;
let leader: Leader;
const servers: Server[] = [];

const leaderAt = (at: string): Leader => ({ type: 'other', control: { id: 'control-1', url: at } });
const bearer = { authorization: `Bearer ${OPERATOR}` };

beforeEach(async () => {
  leading = await startOperatedControl(guarded);
  leader = leaderAt(leading.url);
  operations = new FakeOperations();
  const unknown = { assignment: undefined, edges: [] };
  const queries = new OperatorQueries(
    new ShardNames(new RedisNames(''), 4),
    () => unknown,
    sourcesOf(async () => ({ connections: [], complete: false })),
  );
  follower = httpServerOf();
  forwardToLeader(follower, () => leader);
  addOperatorRoutes(follower, apiOf(queries, operations, guarded));
  url = `http://127.0.0.1:${await listenHttp(follower, '127.0.0.1', 0)}`;
});
afterEach(async () => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
  await follower.close();
  await leading.stop();
});

async function startServer(onRequest: (request: IncomingMessage) => void): Promise<string> {
  const server = createServer(onRequest).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('the leader carries out a write, with the token and the body of the caller', async () => {
  const answer = await ask(`${url}/v1/edges/edge-2/drain`, { rate: 5, reason: 'ü' }, bearer);
  expect(answer).toMatchObject({ status: 200, body: { edgeId: 'edge-2', intent: 'draining' } });
  expect(leading.operations.calls).toMatchObject([
    ['setIntent', 'edge-2', 'draining', { perSecondMax: 5 }, { actor: 'ada', reason: 'ü' }],
  ]);
  expect(operations.calls).toEqual([]);
});

test('rejections of the leader are passed on', async () => {
  const pause = `${url}/v1/pause`;
  expect(await ask(pause, {})).toMatchObject({
    status: 401,
    body: { error: { code: 'UNAUTHENTICATED' } },
  });
  const viewer = { authorization: `Bearer ${VIEWER}` };
  expect(await ask(pause, {}, viewer)).toMatchObject({ status: 403 });
  expect(await ask(pause, '{', bearer)).toMatchObject({ status: 400 });
  expect(await ask(pause, { why: 'x' }, bearer)).toMatchObject({ status: 400 });
  const plain = await fetch(pause, { method: 'POST', headers: bearer, body: 'x' });
  expect(plain.status).toBe(400);
  const wrong = await fetch(`${url}/v1/cluster`, { method: 'DELETE', headers: bearer });
  expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  expect(leading.operations.calls).toEqual([]);
  expect((await ask(`${url}/v1/edges/x/drain`, {}, bearer)).status).toBe(404);
});

test('a body over the maximum is rejected, with and without its length', async () => {
  const body = JSON.stringify({ reason: 'x'.repeat(100_000) });
  expect(await ask(`${url}/v1/pause`, body, bearer)).toMatchObject({ status: 413 });
  const headers = { ...bearer, 'content-type': 'application/json' };
  const call = request(`${url}/v1/pause`, { method: 'POST', headers, agent: false });
  call.on('error', () => {});
  call.write(body);
  call.end();
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  expect([413, 503]).toContain(response.statusCode);
  response.resume();
  expect(leading.operations.calls).toEqual([]);
});

test('paths are passed on as they are', async () => {
  const call = get(`${url}/`, { path: '/v1/clients/..', headers: bearer, agent: false });
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  expect(JSON.parse(text)).toMatchObject({ clientId: '..', owner: expect.stringMatching(/^edge/) });
});

test('a large answer of the leader is not sent again while it is unchanged', async () => {
  const { snapshot } = leading.state;
  const [one, other] = snapshot.edges;
  const change = (zone: string) => {
    leading.state.snapshot = {
      ...snapshot,
      edges: [{ ...one!, zone: zone.repeat(10_000) }, other!],
    };
  };
  const edges = (at: string, tag = '') =>
    fetch(`${at}/v1/edges`, { headers: { ...bearer, 'if-none-match': tag } });
  expect((await edges(url)).headers.get('etag')).toBeNull();
  change('a');
  const { headers } = await edges(url);
  expect(headers.get('cache-control')).toBe('private, no-cache');
  const etag = headers.get('etag')!;
  for (const at of [url, leading.url]) {
    const again = await edges(at, etag);
    expect([again.status, await again.text()]).toEqual([304, '']);
    const plain = await ask(`${at}/v1/edges`, undefined, {
      ...bearer,
      'accept-encoding': 'identity',
    });
    const compressed = await edges(at);
    expect(compressed.headers.get('content-encoding')).toBe('gzip');
    expect(await compressed.json()).toEqual(plain.body);
  }
  change('b');
  expect((await edges(url, etag)).status).toBe(200);
});

test('while the leader cannot be reached, reads are answered here and writes say so', async () => {
  await leading.stop();
  expect(await ask(`${url}/v1/edges`, undefined, bearer)).toMatchObject({ status: 200 });
  const pause = await ask(`${url}/v1/pause`, {}, bearer);
  expect(pause).toMatchObject({ status: 503, body: { error: { code: 'NOT_LEADER' } } });
  expect(pause.body.error.message).toMatch(
    /^control-1 at http.* \(ECONNREFUSED\): nothing was done/,
  );
  leading = await startOperatedControl(guarded);
});

test('a write whose answer is lost is not repeated', async () => {
  let count = 0;
  leader = leaderAt(
    await startServer((received) => {
      count++;
      received.socket.destroy();
    }),
  );
  const pause = await ask(`${url}/v1/pause`, {}, bearer);
  expect(pause.body.error.message).toMatch(/it may have carried out the request/);
  expect([pause.status, count]).toEqual([503, 1]);
});

test('no request goes further than to the control that the lock names', async () => {
  const received: IncomingMessage[] = [];
  const other = await startServer((seen) => received.push(seen));
  const server = createServer((_, response) => {
    response.writeHead(307, { location: `${other}/v1/pause` }).end();
  }).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  leader = leaderAt(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const redirected = await fetch(`${url}/v1/moves`, { headers: bearer, redirect: 'manual' });
  expect([redirected.status, redirected.headers.get('location')]).toEqual([307, null]);
  // Two controls that take each other for the leader.
  leader = leaderAt(url);
  operations.rejected = undefined;
  await ask(`${url}/v1/pause`, {}, bearer);
  expect(operations.calls).toHaveLength(1);
  expect(received).toEqual([]);
});

test('an event stream is served here, also after the leader has ended', async () => {
  const call = get(`${url}/v1/events`, {
    headers: { ...bearer, accept: 'text/event-stream' },
    agent: false,
  });
  const [stream] = (await once(call, 'response')) as [IncomingMessage];
  let text = '';
  stream.setEncoding('utf8').on('data', (chunk) => (text += chunk));
  leader = { type: 'none' };
  operations.log({ type: 'leader-changed', controlId: 'control-2' });
  await eventually(() => text.includes('control-2'));
  stream.destroy();
});

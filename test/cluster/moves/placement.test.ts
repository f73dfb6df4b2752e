/**
 * Goal: a device ends up at the owner of its shard, with one connection, from any first URL; if it
 * cannot, it is served as a guest and counted; an invalid request gets a precise response. Method:
 * three edges as processes on a real Redis; requests to router and edges as devices and browsers
 * send them.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { killConnectionsAt } from '../../../drill/faults/redis-fixture.js';
import { LIVE } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';

let running: RunningCluster;
const opened: SseClient[] = [];

beforeAll(async () => {
  running = await RunningCluster.start({ edges: 3 });
});

afterAll(() => running?.stop());

afterEach(() => {
  for (const client of opened.splice(0)) client.close();
});

async function open(url: string): Promise<SseClient> {
  const client = await SseClient.openOnce(url);
  opened.push(client);
  return client;
}

/** `/connect` of an edge, for a device that was not sent there. */
function atEdge(edgeId: string, clientId: string): string {
  return `${running.cluster.edgeUrl(edgeId)}/connect?clientId=${encodeURIComponent(clientId)}`;
}

/** `/connect` of an edge, for a device that was sent there under the current assignment. */
async function sentToEdge(edgeId: string, clientId: string): Promise<string> {
  const { position } = await running.view();
  return `${atEdge(edgeId, clientId)}&epoch=${position.incarnation}-${position.epoch}`;
}

describe('a device at the wrong edge', () => {
  test('is redirected to the owner, with its cursor and the epoch, and counted', async () => {
    const clientId = await running.clientIdOf('edge-2', 'wrong/edge ü');
    const counter = 'longline_edge_redirects_total';
    const before = await running.metric('edge-1', counter);
    const answer = await httpRequest(`${atEdge('edge-1', clientId)}&lastEventId=1-1`);
    const { position } = await running.view();
    expect(answer).toMatchObject({
      status: 307,
      headers: {
        location:
          `${atEdge('edge-2', clientId)}&lastEventId=1-1` +
          `&epoch=${position.incarnation}-${position.epoch}`,
        'cache-control': 'no-store',
        'access-control-allow-origin': '*',
      },
    });
    expect(await running.metric('edge-1', counter)).toBe(before + 1);
    const client = await SseClient.open(answer.headers.location!);
    opened.push(client);
    expect(new URL(client.url).origin).toBe(running.cluster.edgeUrl('edge-2'));
  });

  test('is redirected if it was sent there under an older epoch', async () => {
    const clientId = await running.clientIdOf('edge-2', 'stale');
    const answer = await httpRequest(`${atEdge('edge-1', clientId)}&epoch=0-0`);
    expect(answer.status).toBe(307);
  });

  test('is served as a guest if it was sent there under this epoch, counted, and receives pushes', async () => {
    const clientId = await running.clientIdOf('edge-2', 'guest');
    await running.push.push(clientId, 'stored');
    const client = await open(await sentToEdge('edge-1', clientId));
    await client.until(1);
    // The owner replies that the client is not connected there, which must not become the verdict.
    for (let i = 0; i < 20; i++) {
      const { verdict } = await running.push.push(clientId, `live ${i}`, LIVE);
      expect(verdict).toBe('WRITTEN');
    }
    await running.untilCaughtUp();
    expect((await running.push.push(clientId, 'durable')).verdict).toBe('WRITTEN');
    await client.until(22);
    expect(client.data.at(0)).toBe('stored');
    expect(client.data.at(-1)).toBe('durable');
    const { connections, complete } = await running.push.presence(clientId);
    expect(complete).toBe(true);
    expect(connections).toMatchObject([{ edgeId: 'edge-1', guest: true }]);
    expect(await running.metric('edge-1', 'longline_edge_guests')).toBe(1);
    await eventually(async () => (await running.view()).guests === 1);
    client.close();
    await eventually(async () => (await running.metric('edge-1', 'longline_edge_guests')) === 0);
    // OFFLINE, without waiting for an edge that is no longer subscribed.
    await eventually(
      async () => (await running.push.push(clientId, 'gone', LIVE)).verdict === 'OFFLINE',
    );
  });
});

test('a guest is not OFFLINE while its edge is not subscribed', async () => {
  const clientId = await running.clientIdOf('edge-2', 'unheard');
  const client = await open(await sentToEdge('edge-3', clientId));
  const pushLive = async () => (await running.push.push(clientId, 'live', LIVE)).verdict;
  expect(await pushLive()).toBe('WRITTEN');
  const pid = running.cluster.pid('edge-3')!;
  process.kill(pid, 'SIGSTOP');
  try {
    expect(await killConnectionsAt('127.0.0.1', running.redis.port, 'edge-3-subscriber')).toBe(1);
    // The owner knows of the guest, so the verdict comes at once and is no more than the truth.
    expect(await pushLive()).toBe('UNKNOWN');
    const { connections, complete } = await running.push.presence(clientId);
    expect({ connections, complete }).toEqual({ connections: [], complete: false });
    const others = (await running.clientIdsOf('edge-2', 20, 'absent')).slice(0, 20);
    const many = await running.push.pushMany([clientId, ...others], 'many', LIVE);
    expect(many.unknownClientIds).toEqual([clientId]);
    expect((await running.push.push(clientId, 'durable')).verdict).toBe('STORED');
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await eventually(async () => (await pushLive()) === 'WRITTEN', 20_000);
  await eventually(() => client.data.includes('durable'), 20_000);
  client.close();
  await eventually(async () => (await pushLive()) === 'OFFLINE', 20_000);
});

describe('two connections of one clientId', () => {
  test.each([
    ['on the same edge', 'edge-1', 'edge-1'],
    ['on two edges, the newer at the owner', 'edge-2', 'edge-1'],
    ['on two edges, the newer a guest', 'edge-1', 'edge-3'],
  ])('%s: the older is replaced, the newer remains', async (placement, olderAt, newerAt) => {
    const clientId = await running.clientIdOf('edge-1', `twice ${placement}`);
    const reason = { reason: 'session_replaced' };
    const counter = 'longline_edge_connections_closed_total';
    const before = await running.metric(olderAt, counter, reason);
    const older = await open(await sentToEdge(olderAt, clientId));
    expect((await running.push.push(clientId, 'to the older', LIVE)).verdict).toBe('WRITTEN');
    const newer = await open(await sentToEdge(newerAt, clientId));
    await older.ended;
    expect(older.events).toEqual([
      { event: 'message', id: '', data: 'to the older' },
      { event: 'session-replaced', id: '', data: '{}' },
    ]);
    // A long delay, so that two clients with one clientId do not replace each other in turn.
    expect(older.retryMs).toBe(30_000);
    expect(newer.isOpen).toBe(true);
    const { connections } = await running.push.presence(clientId);
    expect(connections.map(({ edgeId }) => edgeId)).toEqual([newerAt]);
    const { verdict } = await running.push.push(clientId, 'to the newer', LIVE);
    expect(verdict).toBe('WRITTEN');
    await running.push.push(clientId, 'and stored');
    await eventually(() => newer.data.at(-1) === 'and stored');
    expect(newer.data).toEqual(['to the newer', 'and stored']);
    expect(await running.metric(olderAt, counter, reason)).toBe(before + 1);
  });

  test('after flapping between three edges exactly one remains, which receives each push once', async () => {
    const clientId = await running.clientIdOf('edge-1', 'flapping');
    const clients: SseClient[] = [];
    for (let i = 0; i < 30; i++) {
      clients.push(await open(await sentToEdge(`edge-${(i % 3) + 1}`, clientId)));
    }
    await eventually(() => clients.filter((client) => client.isOpen).length === 1);
    const last = clients.find((client) => client.isOpen)!;
    const { messageId } = await running.push.push(clientId, 'to one');
    await eventually(() => last.data.includes('to one'));
    const got = clients.filter((client) => client.ids.includes(messageId));
    expect(got).toEqual([last]);
    expect(last.ids).toEqual([messageId]);
    // Sequential connects: the last one is the newest, independent of any clock.
    expect(last).toBe(clients.at(-1));
  });
});

describe('/connect of the router', () => {
  test('redirects to the owner, uncached', async () => {
    const { edgeId, url } = await running.lookUp('any-client');
    const answer = await httpRequest(running.connectUrl('any-client'), {
      headers: { accept: '*/*' },
    });
    expect(answer).toMatchObject({
      status: 307,
      headers: { location: url, 'cache-control': 'no-store', 'access-control-allow-origin': '*' },
    });
    expect(url).toContain(`${running.cluster.edgeUrl(edgeId)}/connect?clientId=any-client&epoch=`);
  });

  test('responds with JSON on request', async () => {
    const { position } = await running.view();
    const headers = { accept: 'application/json', origin: 'https://page.example' };
    const answer = await httpRequest(running.connectUrl('any-client'), { headers });
    expect(answer).toMatchObject({
      status: 200,
      headers: { 'access-control-allow-origin': '*', 'cache-control': 'no-store' },
    });
    expect(answer.headers['content-type']).toMatch(/^application\/json/);
    expect(JSON.parse(answer.body)).toEqual({
      clientId: 'any-client',
      shard: expect.any(Number),
      edgeId: expect.stringMatching(/^edge-[123]$/),
      url: expect.any(String),
      ...position,
    });
  });
});

describe.each([
  ['the router', () => running.cluster.routerUrl],
  ['an edge', () => running.cluster.edgeUrl('edge-1')],
])('%s', (_, origin) => {
  test('answers a preflight', async () => {
    const answer = await httpRequest(`${origin()}/connect?clientId=a`, {
      method: 'OPTIONS',
      headers: {
        origin: 'https://page.example',
        'access-control-request-method': 'GET',
        'access-control-request-headers': 'last-event-id,traceparent,x-unheard-of',
      },
    });
    expect(answer).toMatchObject({
      status: 204,
      headers: {
        'access-control-allow-origin': '*',
        'access-control-allow-methods': 'GET',
        'access-control-allow-headers': 'last-event-id, traceparent, x-unheard-of',
      },
    });
    // Browsers reject credentials with `*`, and Longline must never allow them.
    expect(answer.headers).not.toHaveProperty('access-control-allow-credentials');
  });

  test.each([
    ['no query', '', 'CLIENT_ID_INVALID'],
    ['no clientId', '?x=1', 'CLIENT_ID_INVALID'],
    ['an empty clientId', '?clientId=', 'CLIENT_ID_INVALID'],
    ['257 bytes', `?clientId=${'x'.repeat(257)}`, 'CLIENT_ID_INVALID'],
    ['257 bytes of UTF-8', `?clientId=${'%C3%BC'.repeat(128)}x`, 'CLIENT_ID_INVALID'],
    ['NUL', '?clientId=a%00b', 'CLIENT_ID_INVALID'],
    ['a line feed', '?clientId=a%0Ab', 'CLIENT_ID_INVALID'],
    ['bytes that are not UTF-8', '?clientId=%ff', 'CLIENT_ID_INVALID'],
    ['half a percent escape', '?clientId=%4', 'CLIENT_ID_INVALID'],
    ['two clientIds', '?clientId=a&clientId=a', 'REQUEST_MALFORMED'],
    ['an invalid epoch', '?clientId=a&epoch=new', 'REQUEST_MALFORMED'],
  ])('rejects %s with 400 and a code', async (__, query, code) => {
    const answer = await httpRequest(`${origin()}/connect${query}`);
    expect([answer.status, JSON.parse(answer.body).error.code]).toEqual([400, code]);
    // A page may read the reason of the rejection.
    expect(answer.headers['access-control-allow-origin']).toBe('*');
  });

  test.each(['POST', 'PUT', 'PATCH', 'DELETE'])('rejects %s with 405', async (method) => {
    const answer = await httpRequest(`${origin()}/connect?clientId=a`, { method });
    expect([answer.status, JSON.parse(answer.body).error.code]).toEqual([
      405,
      'METHOD_NOT_ALLOWED',
    ]);
    expect(answer.headers.allow).toContain('GET');
    expect(answer.headers['access-control-allow-origin']).toBe('*');
  });

  test('lets a page read the code of a request that cannot be parsed', async () => {
    const socket = await RawSocket.connect(Number(new URL(origin()).port));
    await socket.send('GET /connect?clientId=a HTTP/1.1\r\nHost: a\r\nContent-Length: \v0\r\n\r\n');
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([400, 'REQUEST_MALFORMED']);
    expect(socket.text).toContain('Access-Control-Allow-Origin: *\r\n');
    expect(socket.text).toMatch(/Access-Control-Expose-Headers: .*Retry-After/);
  });

  test.each(['/', '/connect/', '/connectx?clientId=a', '/..', '//connect?clientId=a'])(
    'rejects %s with 404',
    async (path) => {
      const answer = await httpRequest(`${origin()}${path}`);
      expect([answer.status, JSON.parse(answer.body).error.code]).toEqual([404, 'NOT_FOUND']);
      expect(answer.headers['access-control-allow-origin']).toBe('*');
    },
  );
});

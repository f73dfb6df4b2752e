/**
 * Goal: every port rejects peers without valid credentials, and serves authenticated ones during
 * moves and during rejections of others. Method: a cluster of processes with LONGLINE_AUTH=jwt;
 * devices, backends and edges with and without tokens. In the end the output of the roles is
 * searched for tokens.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { IClientOptions } from 'mqtt';
import { WebSocket } from 'ws';
import { controlApi } from '../../../cli/control/api.js';
import {
  PushServiceClient,
  PushStreamRequest,
  type PushStreamResponse,
} from '../../../proto/gen/longline/v1/push.js';
import { PushClient, pushRequest } from '../../support/cluster/push-client.js';
import { startRole } from '../../support/cluster/role.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { NotAStream, type ReceivedEvent, SseClient } from '../../support/devices/sse-client.js';
import { openWs } from '../../support/devices/websocket-client.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';
import { claimsOf, rsa, SECRET, signed, tokenOf } from '../../support/tokens.js';

const OPS = 'ops-token-0123456789';
const SHOP = 'shop-token-0123456789';
const LINK = 'link-token-0123456789';
/** A connect on a busy machine takes less. */
const EXPIRY_S = 6;
const tokensFile = join(mkdtempSync(join(tmpdir(), 'longline-tokens-')), 'tokens');

let running: RunningCluster;
let healthy: SseClient;
let healthyId: string;
const lines: string[] = [];
const devices: SseClient[] = [];

beforeAll(async () => {
  writeFileSync(tokensFile, `shop:push:${SHOP}\n`);
  running = await RunningCluster.start({
    edges: 2,
    token: OPS,
    env: {
      LONGLINE_AUTH: 'jwt',
      LONGLINE_LOG_LEVEL: 'debug',
      // A drain of fewer shards is shorter.
      LONGLINE_SHARD_COUNT: '64',
      LONGLINE_JWT_ALGORITHMS: 'HS256',
      LONGLINE_JWT_KEYS: SECRET,
      LONGLINE_JWT_SKEW_MS: '0',
      LONGLINE_TICKET_SECRET: SECRET.toUpperCase(),
      LONGLINE_LINK_TOKEN: LINK,
      LONGLINE_BACKEND_TOKENS: `ops:push+presence+disconnect+groups:${OPS}`,
      LONGLINE_BACKEND_TOKENS_FILE: tokensFile,
    },
    onOutput: (_, line) => lines.push(line),
  });
  // Not on the edge that the last test drains.
  healthyId = await running.clientIdOf('edge-1', 'healthy');
  healthy = await open(healthyId, tokenOf(healthyId));
});

afterEach(async () => {
  for (const device of devices.splice(0)) device.close();
  const data = `${Math.random()}`;
  await running.push.push(healthyId, data);
  await eventually(() => healthy.events.some((event) => event.data === data));
});

afterAll(async () => {
  healthy?.close();
  await running?.stop();
});

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** Connects through the router like curl, which does not send the header to the redirect target. */
async function open(clientId: string, token: string): Promise<SseClient> {
  const answer = await httpRequest(running.connectUrl(clientId), { headers: bearer(token) });
  expect(answer.status).toBe(307);
  const device = await SseClient.open(answer.headers.location!);
  if (clientId !== healthyId) devices.push(device);
  return device;
}

async function edgeUrlOf(clientId: string): Promise<string> {
  const headers = { accept: 'application/json', ...bearer(tokenOf(clientId)) };
  return JSON.parse((await httpRequest(running.connectUrl(clientId), { headers })).body).url;
}

/** URL at the owner, without a ticket. */
async function bareUrlOf(clientId: string): Promise<string> {
  const url = new URL(await edgeUrlOf(clientId));
  url.searchParams.delete('ticket');
  return url.href;
}

function codeOf({ body }: { readonly body: string }): string {
  return JSON.parse(body).error.code;
}

describe('a device', () => {
  test('joins groups as its token permits, also with the ticket of a redirect', async () => {
    const claims = { groups: ['team-*', 'lobby'] };
    const headers = bearer(tokenOf('joan', claims));
    const openWith = async (groups: string) => {
      const url = `${running.connectUrl('joan')}&groups=${groups}`;
      const answer = await httpRequest(url, { headers });
      return SseClient.open(answer.headers.location!);
    };
    devices.push(await openWith('team-1,lobby'));
    expect((await running.push.listGroups({ member: 'joan' })).groups).toEqual(['lobby', 'team-1']);
    await expect(openWith('team-2,admins')).rejects.toMatchObject({
      status: 403,
      body: expect.stringContaining('PERMISSION_DENIED'),
    });
    expect((await running.push.listMembers({ group: 'admins' })).members).toEqual([]);
    const invalid = await httpRequest(running.connectUrl('joan'), {
      headers: bearer(tokenOf('joan', { groups: [7] })),
    });
    expect([invalid.status, codeOf(invalid)]).toEqual([400, 'GROUP_INVALID']);
    const shop = new PushClient(running.cluster.routerAddress, SHOP);
    expect((await shop.pushGroup('lobby', 'x')).counts).toHaveLength(1);
    await expect(shop.joinGroup('lobby', 'x')).rejects.toMatchObject({
      code: status.PERMISSION_DENIED,
    });
    shop.close();
  });

  test('is redirected with a ticket and without its token', async () => {
    const token = tokenOf('alice');
    const urls = [`${running.connectUrl('alice')}&token=${token}`];
    const byHeader = await httpRequest(running.connectUrl('alice'), { headers: bearer(token) });
    const byQuery = await httpRequest(urls[0]!);
    for (const { status, headers } of [byHeader, byQuery]) {
      expect(status).toBe(307);
      const location = headers.location!;
      expect(location).toMatch(/&ticket=[\w-]{40}$/);
      expect(location).not.toContain('token=');
      expect(location).not.toContain(token);
    }
    const device = await open('alice', token);
    await running.untilCaughtUp();
    expect((await running.push.push('alice', 'hello')).verdict).toBe('WRITTEN');
    await eventually(() => device.events.some(({ data }) => data === 'hello'));
    expect(device.events[0]).toMatchObject({
      event: 'ticket',
      data: expect.stringMatching(/^\{"ticket":"[\w-]{40}"\}$/),
    });
  });

  test('is accepted by an edge with a token in the header or the query, or with a ticket', async () => {
    const url = await bareUrlOf('alice');
    const token = tokenOf('alice');
    devices.push(await SseClient.open(url, { headers: bearer(token) }));
    devices.push(await SseClient.open(`${url}&token=${token}`));
    const [first] = await devices[0]!.until(1);
    const { ticket } = JSON.parse(first!.data);
    devices.push(await SseClient.open(`${url}&ticket=${ticket}`));
    devices.push(await SseClient.open(`${url}&token=${ticket}`));
    devices.push(await SseClient.open(url, { headers: bearer(ticket) }));
  });

  test('is redirected by an edge with a ticket', async () => {
    const [clientId] = await running.clientIdsOf('edge-2', 1);
    const url = `${running.cluster.edgeUrl('edge-1')}/connect?clientId=${clientId}`;
    const answer = await httpRequest(url, { headers: bearer(tokenOf(clientId!)) });
    expect(answer.status).toBe(307);
    const location = answer.headers.location!;
    expect(location).toContain(running.cluster.edgeUrl('edge-2'));
    devices.push(await SseClient.open(location));
  });

  const forged = signed({ alg: 'HS256' }, claimsOf('mallory'), `${SECRET}x`);
  const byRsa = signed({ alg: 'RS256' }, claimsOf('mallory'), rsa.privateKey);
  test.each([
    ['no token', undefined, 401, 'UNAUTHENTICATED', 'missing'],
    ['noise', 'noise', 401, 'UNAUTHENTICATED', 'malformed'],
    ['a token of another key', forged, 401, 'UNAUTHENTICATED', 'signature'],
    ['a token of another algorithm', byRsa, 401, 'UNAUTHENTICATED', 'algorithm'],
    ['an expired token', tokenOf('mallory', { exp: 1 }), 401, 'TOKEN_EXPIRED', 'expired'],
    [
      'a token of the future',
      tokenOf('mallory', { nbf: 9e9 }),
      401,
      'UNAUTHENTICATED',
      'not_yet_valid',
    ],
    ['a token for another client', tokenOf('alice'), 403, 'PERMISSION_DENIED', 'subject'],
    [
      'a token for another audience',
      tokenOf('mallory', { aud: 'shop' }),
      401,
      'UNAUTHENTICATED',
      'audience',
    ],
    ['a forged ticket', 'A'.repeat(32), 401, 'UNAUTHENTICATED', 'ticket'],
  ])('with %s is rejected, by router and edge', async (_, token, status, code, reason) => {
    const url = await bareUrlOf('mallory');
    const headers = token === undefined ? {} : bearer(token);
    const edge = running.cluster.names.find((name) => {
      return name.startsWith('edge') && url.startsWith(running.cluster.edgeUrl(name));
    })!;
    for (const [role, name, target] of [
      ['edge', edge, url],
      ['router', 'router', running.connectUrl('mallory')],
    ] as const) {
      const metric = `longline_${role}_tokens_rejected_total`;
      const before = await running.metric(name, metric, { reason });
      const answer = await httpRequest(target, { headers });
      expect(answer.status).toBe(status);
      expect(codeOf(answer)).toBe(code);
      expect(answer.headers['www-authenticate']).toBe(status === 401 ? 'Bearer' : undefined);
      expect(await running.metric(name, metric, { reason })).toBe(before + 1);
    }
  });

  test('with the ticket of another client is rejected', async () => {
    const ticket = new URL(await edgeUrlOf('alice')).searchParams.get('ticket');
    const answer = await httpRequest(`${await bareUrlOf('mallory')}&ticket=${ticket}`);
    expect(answer.status).toBe(401);
  });

  test('receives an event and is disconnected when its token expires', async () => {
    const exp = Math.floor(Date.now() / 1_000) + EXPIRY_S;
    const device = await open('brief', tokenOf('brief', { exp }));
    const url = device.url;
    await device.ended;
    expect(Date.now()).toBeGreaterThanOrEqual(exp * 1_000);
    expect(device.events.at(-1)).toMatchObject({ event: 'expired', data: '{}' });
    await expect(SseClient.open(url)).rejects.toMatchObject({
      constructor: NotAStream,
      status: 401,
      body: expect.stringContaining('TOKEN_EXPIRED'),
    });
  });

  test('receives the same event in ndjson, and its ticket with the welcome', async () => {
    const exp = Math.floor(Date.now() / 1_000) + EXPIRY_S;
    const headers = { accept: 'application/x-ndjson', ...bearer(tokenOf('brief', { exp })) };
    const { body } = await httpRequest(await bareUrlOf('brief'), { headers });
    const messages = body
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(messages[0]).toMatchObject({
      type: 'welcome',
      ticket: expect.stringMatching(/^[\w-]{40}$/),
    });
    expect(messages.at(-1)).toEqual({ type: 'expired' });
  });
});

describe('a WebSocket', () => {
  const inSeconds = (seconds: number) => Math.floor(Date.now() / 1_000) + seconds;
  const offer = (token: string) => `longline.token.${token}`;

  test('sends its token as a subprotocol, which the response does not repeat', async () => {
    const url = await bareUrlOf('alice');
    const socket = await openWs(url, 'longline.json', offer(tokenOf('alice')));
    expect(socket.protocol).toBe('longline.json');
    await socket.untilReceived(1);
    const { type, ticket } = socket.envelopes[0]!;
    expect(type).toBe('welcome');
    await socket.end();
    const again = await openWs(`${url}&ticket=${ticket}`);
    await again.end();
  });

  test('without a token is answered with 401, with the token of another client with 403', async () => {
    const upgrade = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': Buffer.alloc(16).toString('base64'),
    };
    const url = await bareUrlOf('mallory');
    expect((await httpRequest(url, { headers: upgrade })).status).toBe(401);
    const protocol = { 'sec-websocket-protocol': `longline.json, ${offer(tokenOf('alice'))}` };
    expect((await httpRequest(url, { headers: { ...upgrade, ...protocol } })).status).toBe(403);
  });

  test('continues with a newer token, and ends when the last one expires', async () => {
    const url = await bareUrlOf('brief');
    const first = tokenOf('brief', { exp: inSeconds(EXPIRY_S) });
    const socket = await openWs(url, 'longline.json', offer(first));
    const exp = inSeconds(EXPIRY_S + 3);
    await socket.send(JSON.stringify({ type: 'token', token: tokenOf('brief', { exp }) }));
    await socket.untilReceived(2);
    expect(socket.envelopes[1]).toEqual({
      type: 'ticket',
      ticket: expect.stringMatching(/^[\w-]{40}$/),
    });
    expect((await socket.untilClosed()).code).toBe(4003);
    expect(Date.now()).toBeGreaterThanOrEqual(exp * 1_000);
    expect(socket.envelopes.at(-1)).toEqual({ type: 'expired' });
  });

  test('that sends an invalid token later is disconnected', async () => {
    const url = await bareUrlOf('alice');
    for (const token of [tokenOf('bob'), 'noise', tokenOf('alice', { exp: 1 })]) {
      const socket = await openWs(url, 'longline.json', offer(tokenOf('alice')));
      await socket.send(JSON.stringify({ type: 'token', token }));
      expect((await socket.untilClosed()).code).toBe(4003);
    }
  });

  test('without a subprotocol ends when its token expires', async () => {
    const url = await bareUrlOf('brief');
    const socket = await openWs(`${url}&token=${tokenOf('brief', { exp: inSeconds(EXPIRY_S) })}`);
    expect((await socket.untilClosed()).code).toBe(4003);
  });
});

describe('an MQTT client', () => {
  const portOf = async (clientId: string) => Number(new URL(await edgeUrlOf(clientId)).port);

  test('sends its token as the password or as the username', async () => {
    const port = await portOf('alice');
    const token = tokenOf('alice');
    for (const protocolVersion of [4, 5] as const) {
      for (const login of [{ username: 'any', password: token }, { username: token }]) {
        const device = await MqttDevice.connect(port, 'alice', { protocolVersion, ...login });
        expect(await device.subscribe('push/alice')).toEqual([1]);
        await device.close();
      }
    }
  });

  test('over a WebSocket sends it as the password, as a subprotocol or in the query', async () => {
    const port = await portOf('alice');
    const token = tokenOf('alice');
    const ways: [query: string, options: IClientOptions][] = [
      ['', { username: 'any', password: token }],
      [`?token=${token}`, { username: 'any' }],
      ['', { wsOptions: { headers: { authorization: `Bearer ${token}` } } }],
      ['', { createWebsocket: (url) => new WebSocket(url, ['mqtt', `longline.token.${token}`]) }],
    ];
    for (const [query, options] of ways) {
      const device = await MqttDevice.connect(
        `ws://127.0.0.1:${port}/mqtt${query}`,
        'alice',
        options,
      );
      expect(await device.subscribe('push/alice')).toEqual([1]);
      await device.close();
    }
    const stolen = { password: tokenOf('mallory'), username: 'any' };
    await expect(
      MqttDevice.connect(`ws://127.0.0.1:${port}/mqtt`, 'alice', stolen),
    ).rejects.toThrow(/Not authorized/);
  });

  test.each([
    [4, 5],
    [5, 0x87],
  ] as const)(
    'of version %d is rejected with code %d for an invalid token',
    async (protocolVersion, code) => {
      const port = await portOf('mallory');
      const invalid = [undefined, 'noise', tokenOf('alice'), tokenOf('mallory', { exp: 1 })];
      for (const password of invalid) {
        const login = password === undefined ? {} : { username: 'any', password };
        await expect(
          MqttDevice.connect(port, 'mallory', { protocolVersion, ...login }),
        ).rejects.toMatchObject({ code });
      }
    },
  );

  test('is disconnected when its token expires, with the reason in MQTT 5', async () => {
    const exp = Math.floor(Date.now() / 1_000) + EXPIRY_S;
    const login = { username: 'any', password: tokenOf('brief', { exp }) };
    const device = await MqttDevice.connect(await portOf('brief'), 'brief', {
      protocolVersion: 5,
      ...login,
    });
    await device.untilClosed();
    expect(device.disconnectReason).toBe(0x87);
  });
});

describe('a backend', () => {
  test('without a token or with an invalid one is rejected', async () => {
    for (const token of ['', 'x', `${OPS}x`, LINK]) {
      const client = new PushClient(running.cluster.routerAddress, token);
      const unauthenticated = { code: status.UNAUTHENTICATED };
      await expect(client.push(healthyId, 'x')).rejects.toMatchObject(unauthenticated);
      await expect(client.presence(healthyId)).rejects.toMatchObject(unauthenticated);
      await expect(client.disconnect(healthyId)).rejects.toMatchObject(unauthenticated);
      await expect(
        client.stream([[{ correlationId: '1', push: pushRequest(healthyId, 'x') }]]),
      ).rejects.toMatchObject(unauthenticated);
      client.close();
    }
  });

  test('may call only what its scopes allow', async () => {
    const client = new PushClient(running.cluster.routerAddress, SHOP);
    expect((await client.push(healthyId, 'x')).verdict).toBe('WRITTEN');
    const denied = { code: status.PERMISSION_DENIED };
    await expect(client.presence(healthyId)).rejects.toMatchObject(denied);
    await expect(client.disconnect(healthyId)).rejects.toMatchObject(denied);
    client.close();
    expect((await running.push.presence(healthyId)).connections).toHaveLength(1);
  });

  test('loses its stream when its token is revoked, and uses a new token without a restart', async () => {
    const stub = new PushServiceClient(running.cluster.routerAddress, credentials.createInsecure());
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${SHOP}`);
    const stream = stub.pushStream(metadata);
    const results: PushStreamResponse[] = [];
    stream.on('data', (response) => results.push(response));
    const failed = new Promise<ServiceError>((resolve) => stream.once('error', resolve));
    const push = () =>
      stream.write(
        PushStreamRequest.fromPartial({ items: [{ push: pushRequest(healthyId, 'y') }] }),
      );
    push();
    await eventually(() => results.length === 1);
    writeFileSync(tokensFile, `shop:push:${SHOP}-next\n`);
    const next = new PushClient(running.cluster.routerAddress, `${SHOP}-next`);
    await eventually(async () => (await next.push(healthyId, 'z')).verdict === 'WRITTEN');
    push();
    expect((await failed).code).toBe(status.UNAUTHENTICATED);
    next.close();
    stub.close();
  });
});

describe('an edge', () => {
  test.each(['', 'wrong-token-0123456789'])('with the link token %j is rejected', async (token) => {
    const metric = 'longline_control_links_rejected_total';
    const before = await running.metric('control', metric);
    const edge = await startRole('edge', {
      LONGLINE_REDIS_URL: running.redis.url,
      LONGLINE_CONTROL_ADDRESS: running.cluster.grpcAddress('control'),
      LONGLINE_EDGE_ID: 'intruder',
      LONGLINE_SHARD_COUNT: '64',
      LONGLINE_EDGE_PORT: '0',
      LONGLINE_EDGE_ADMIN_PORT: '0',
      LONGLINE_LINK_TOKEN: token,
    });
    await eventually(async () => (await running.metric('control', metric)) > before);
    const edges = await controlApi(running.cluster.controlUrl).edges();
    expect(edges.map(({ id }) => id).sort()).toEqual(['edge-1', 'edge-2']);
    await edge.stop();
  });
});

test('a client of a drained edge reconnects with a ticket instead of a token', async () => {
  const [clientId] = await running.clientIdsOf('edge-2', 1, 'mover');
  const device = await open(clientId!, tokenOf(clientId!));
  await running.postToControl('/v1/edges/edge-2/drain');
  const isGoaway = ({ event }: ReceivedEvent) => event === 'goaway';
  await eventually(() => device.events.some(isGoaway), 100_000);
  const { url } = JSON.parse(device.events.find(isGoaway)!.data);
  expect(url).toMatch(/&ticket=[\w-]{40}$/);
  const moved = await SseClient.open(url);
  devices.push(moved);
  await running.push.push(clientId!, 'moved');
  await eventually(() => moved.events.some(({ data }) => data === 'moved'));
});

test('no role has printed a token', () => {
  const printed = lines.join('\n');
  expect(printed.length).toBeGreaterThan(1_000);
  expect(printed).not.toMatch(/eyJ[\w-]+\.[\w-]+/);
  expect(printed).not.toMatch(/ticket=/);
  for (const secret of [SECRET, SECRET.toUpperCase(), OPS, SHOP, LINK]) {
    expect(printed).not.toContain(secret);
  }
});

/**
 * Goal: the Longline client authenticates with a token, renews it, moves to another edge without
 * one, and retries with a new token after a rejection. Method: a cluster of processes with
 * LONGLINE_AUTH=jwt, and tokens that are valid for seconds; every scenario over each transport of
 * the client.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { WebSocket } from 'ws';
import { controlApi } from '../../../cli/control/api.js';
import {
  type Client,
  type ClientState,
  connect,
  type WebSocketConstructor,
} from '../../../client/connect.js';
import { longline } from '../../support/cluster/longline-command.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { openWs } from '../../support/devices/websocket-client.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';
import { SECRET, tokenOf } from '../../support/tokens.js';

const OPERATOR = 'ops-token-0123456789';
const VIAS: [string, WebSocketConstructor | undefined][] = [
  ['stream', undefined],
  ['websocket', WebSocket],
];

let running: RunningCluster;

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: 2,
    token: OPERATOR,
    env: {
      LONGLINE_AUTH: 'jwt',
      // A drain of fewer shards is shorter.
      LONGLINE_SHARD_COUNT: '64',
      LONGLINE_JWT_ALGORITHMS: 'HS256',
      LONGLINE_JWT_KEYS: SECRET,
      LONGLINE_JWT_SKEW_MS: '0',
      LONGLINE_TICKET_SECRET: SECRET.toUpperCase(),
      LONGLINE_LINK_TOKEN: 'link-token-0123456789',
      LONGLINE_BACKEND_TOKENS: `ops:push+presence+disconnect:${OPERATOR}`,
    },
  });
});

afterAll(() => running?.stop());

const open: Client[] = [];

afterEach(() => {
  for (const client of open.splice(0)) client.close();
});

interface Listener {
  readonly data: unknown[];
  readonly states: ClientState[];
}

function listen(
  clientId: string,
  webSocket: WebSocketConstructor | undefined,
  token: () => Promise<string>,
): Listener {
  const listener: Listener = { data: [], states: [] };
  const client = connect({
    router: running.cluster.routerUrl,
    clientId,
    token,
    onPush: ({ data }) => listener.data.push(data),
    onState: (state) => listener.states.push(state),
    ...(webSocket && { webSocket }),
  });
  open.push(client);
  return listener;
}

const isConnected = ({ states }: Listener) => states.at(-1)?.type === 'connected';
const inSeconds = (seconds: number) => ({ exp: Math.floor(Date.now() / 1_000) + seconds });

describe.each(VIAS)('over a %s', (via, webSocket) => {
  test('reconnects with a new token when the old one has expired', async () => {
    const clientId = `short-${via}`;
    let calls = 0;
    const listener = listen(clientId, webSocket, async () => {
      calls++;
      return tokenOf(clientId, inSeconds(calls === 1 ? 4 : 3_600));
    });
    await eventually(() => isConnected(listener));
    await eventually(() => calls === 2 && isConnected(listener), 60_000);
    await running.untilCaughtUp();
    expect((await running.push.push(clientId, 'later')).verdict).toBe('WRITTEN');
    await eventually(() => listener.data.includes('later'));
  });

  test('is closed when a second token is rejected, too', async () => {
    let calls = 0;
    const listener = listen(`expired-${via}`, webSocket, async () => {
      calls++;
      return tokenOf(`expired-${via}`, inSeconds(-10));
    });
    await eventually(() => listener.states.at(-1)?.type === 'closed');
    expect(listener.states.at(-1)).toMatchObject({ reason: 'rejected', code: 'TOKEN_EXPIRED' });
    expect(calls).toBe(2);
  });

  test('connects with a valid token after an invalid one', async () => {
    const clientId = `wrong-${via}`;
    let calls = 0;
    const listener = listen(clientId, webSocket, async () => {
      return ++calls === 1 ? tokenOf('another client') : tokenOf(clientId);
    });
    await eventually(() => isConnected(listener));
    expect(calls).toBe(2);
    expect(listener.states[1]).toMatchObject({
      type: 'waiting',
      code: 'PERMISSION_DENIED',
      reason: 'HTTP 403: the token is for another clientId or user',
    });
  });
});

test('over a WebSocket, its token is renewed in place', async () => {
  const clientId = 'renewed';
  let calls = 0;
  // An edge requests a new token a minute before the expiry.
  const token = async () => tokenOf(clientId, inSeconds(++calls === 1 ? 63 : 3_600));
  const listener = listen(clientId, WebSocket, token);
  await eventually(() => calls === 2);
  await running.untilCaughtUp();
  expect((await running.push.push(clientId, 'later')).verdict).toBe('WRITTEN');
  await eventually(() => listener.data.includes('later'));
  expect(listener.states.map(({ type }) => type)).toEqual(['connecting', 'connected']);
});

/** Over both transports at once, because a drain takes long. */
test('connects with its token, and moves without another one', async () => {
  const ids = await running.clientIdsOf('edge-1', VIAS.length, 'moved');
  const calls = VIAS.map(() => 0);
  const listeners = VIAS.map(([, webSocket], i) =>
    listen(ids[i]!, webSocket, async () => {
      calls[i]!++;
      return tokenOf(ids[i]!);
    }),
  );
  await eventually(() => listeners.every(isConnected));
  await running.postToControl('/v1/edges/edge-1/drain');
  await eventually(async () => {
    for (const id of ids) {
      const { connections } = await running.push.presence(id);
      expect(connections.map(({ edgeId }) => edgeId)).toEqual(['edge-2']);
    }
    return listeners.every(isConnected);
  }, 90_000);
  await running.untilCaughtUp();
  for (const id of ids) {
    expect((await running.push.push(id, 'at the new edge')).verdict).toBe('WRITTEN');
  }
  await eventually(() => listeners.every(({ data }) => data.includes('at the new edge')));
  expect(calls).toEqual([1, 1]);
});

describe('revoked tokens', () => {
  const issuedAt = (secondsAgo: number) => Math.floor(Date.now() / 1_000) - secondsAgo;
  const ended = { event: 'expired', data: '{"code":"TOKEN_REVOKED"}' };
  const operate = (...args: string[]) => longline(running, ...args);
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
  const devices: SseClient[] = [];

  afterAll(() => {
    for (const device of devices) device.close();
  });

  /** Connects through the router, whose redirect has a ticket instead of the token. */
  async function openSse(clientId: string, token: string): Promise<SseClient> {
    const url = running.connectUrl(clientId);
    const { headers } = await httpRequest(url, { headers: bearer(token) });
    const device = await SseClient.open(headers.location!);
    devices.push(device);
    return device;
  }

  /** URL at the owner, without a ticket. */
  async function bareUrlOf(clientId: string): Promise<URL> {
    const headers = { accept: 'application/json', ...bearer(tokenOf(clientId)) };
    const { body } = await httpRequest(running.connectUrl(clientId), { headers });
    const url = new URL(JSON.parse(body).url);
    url.searchParams.delete('ticket');
    return url;
  }

  test('of a user end its connections, and are rejected with their tickets over every protocol', async () => {
    const old = { iat: issuedAt(60) };
    const sse = await openSse('rita/sse', tokenOf('rita', old));
    const unsaid = await openSse('rita/unsaid', tokenOf('rita'));
    const fresh = await openSse('rita/fresh', tokenOf('rita', { iat: issuedAt(0) }));
    const url = (await bareUrlOf('rita/ws')).href;
    const protocols = ['longline.json', `longline.token.${tokenOf('rita', old)}`];
    const socket = await openWs(url, ...protocols);
    const { port } = await bareUrlOf('rita/mqtt');
    const password = tokenOf('rita', old);
    const login = { username: 'x', password, protocolVersion: 5 } as const;
    const mqtt = await MqttDevice.connect(Number(port), 'rita/mqtt', login);
    const ticket = sse.events.find(({ event }) => event === 'ticket')!.data;

    const before = new Date(issuedAt(30) * 1_000).toISOString();
    const revoked = await operate('revoke', 'rita', '--before', before, '--reason', 'stolen');
    expect(revoked).toMatchObject({ exit: 0, stdout: expect.stringContaining(before) });
    await Promise.all([sse.ended, unsaid.ended]);
    expect(sse.events.at(-1)).toMatchObject(ended);
    expect(await socket.untilClosed()).toMatchObject({ code: 4003, reason: 'token revoked' });
    expect(socket.envelopes.at(-1)).toEqual({ type: 'expired', code: 'TOKEN_REVOKED' });
    await eventually(() => expect(mqtt.client.connected).toBe(false));

    const rejected = { status: 401, body: expect.stringContaining('TOKEN_REVOKED') };
    await expect(openSse('rita/sse', tokenOf('rita', old))).rejects.toMatchObject(rejected);
    const withTicket = `${(await bareUrlOf('rita/sse')).href}&ticket=${JSON.parse(ticket).ticket}`;
    expect(await httpRequest(withTicket)).toMatchObject(rejected);
    const upgrade = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': Buffer.alloc(16).toString('base64'),
      'sec-websocket-protocol': protocols.join(', '),
    };
    expect(await httpRequest(url, { headers: upgrade })).toMatchObject(rejected);
    const reconnect = MqttDevice.connect(Number(port), 'rita/mqtt', login);
    await expect(reconnect).rejects.toThrow('Not authorized');
    expect(fresh.isOpen).toBe(true);
    expect((await operate('events')).stdout).toMatch(
      /revoke {2}rita {2}before \S+ {2}by local {2}reason: stolen/,
    );
  });

  test.each(VIAS)('make the client ask for a new one, over a %s', async (via, webSocket) => {
    const clientId = `tess/${via}`;
    const issued = [issuedAt(60)];
    const token = async () => tokenOf(clientId, { iat: issued[0] ?? issuedAt(0) });
    const { states, data } = listen(clientId, webSocket, token);
    await eventually(() => expect(states.at(-1)).toMatchObject({ type: 'connected' }));
    issued.pop();
    const api = controlApi(running.cluster.controlUrl);
    await api.revoke({ user: 'tess', beforeMs: issuedAt(30) * 1_000 });
    const isBack = () => states.filter(({ type }) => type === 'connected').length > 1;
    await eventually(() => expect(isBack()).toBe(true));
    await running.push.push(clientId, 'hello');
    await eventually(() => expect(data).toContain('hello'));
    await api.unrevoke({ user: 'tess' });
  });

  test('of all users are listed, and accepted again when the revocation is removed', async () => {
    const old = tokenOf('sam', { iat: issuedAt(1_000_000) });
    const device = await openSse('sam', old);
    const api = controlApi(running.cluster.controlUrl);
    const beforeMs = issuedAt(900_000) * 1_000;
    await expect(api.revoke({ user: 'sam/phone', beforeMs })).rejects.toThrow('CLIENT_ID_INVALID');
    await expect(api.revoke({ beforeMs: Date.now() + 3_600_000 })).rejects.toThrow('in the future');
    expect(await api.revoke({ beforeMs })).toEqual({ user: '', beforeMs });
    await device.ended;
    expect(await api.revocations()).toContainEqual({ user: '', beforeMs });
    expect(await api.unrevoke({})).toEqual({ user: '', wasRevoked: true });
    expect(await api.unrevoke({})).toEqual({ user: '', wasRevoked: false });
    await eventually(async () => void (await openSse('sam', old)));
  });
});

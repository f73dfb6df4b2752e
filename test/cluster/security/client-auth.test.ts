/**
 * Goal: the Longline client authenticates with a token, renews it, moves to another edge without one, and
 * retries with a new token after a rejection.
 * Method: a cluster of processes with LONGLINE_AUTH=jwt, and tokens that are valid for seconds; every
 * scenario over each transport of the client.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { WebSocket } from 'ws';
import {
  type Client,
  type ClientState,
  connect,
  type WebSocketConstructor,
} from '../../../client/connect.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { eventually } from '../../support/eventually.js';
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
}, 90_000);

afterAll(() => running?.stop(), 30_000);

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
  test('connects with its token, and moves without another one', async () => {
    const clientId = await running.clientIdOf('edge-1', `moved-${via}`);
    let calls = 0;
    const listener = listen(clientId, webSocket, async () => {
      calls++;
      return tokenOf(clientId);
    });
    await eventually(() => isConnected(listener), 30_000);
    await running.postToControl('/v1/edges/edge-1/drain');
    await eventually(async () => {
      const { connections } = await running.push.presence(clientId);
      return connections.map(({ edgeId }) => edgeId).join() === 'edge-2' && isConnected(listener);
    }, 90_000);
    await running.untilCaughtUp();
    expect((await running.push.push(clientId, 'at the new edge')).verdict).toBe('WRITTEN');
    await eventually(() => listener.data.includes('at the new edge'));
    expect(calls).toBe(1);
    await running.undrain('edge-1');
  }, 150_000);

  test('reconnects with a new token when the old one has expired', async () => {
    const clientId = `short-${via}`;
    let calls = 0;
    const listener = listen(clientId, webSocket, async () => {
      calls++;
      return tokenOf(clientId, inSeconds(calls === 1 ? 4 : 3_600));
    });
    await eventually(() => isConnected(listener), 30_000);
    await eventually(() => calls === 2 && isConnected(listener), 60_000);
    await running.untilCaughtUp();
    expect((await running.push.push(clientId, 'later')).verdict).toBe('WRITTEN');
    await eventually(() => listener.data.includes('later'));
  }, 90_000);

  test('is closed when a second token is rejected, too', async () => {
    let calls = 0;
    const listener = listen(`expired-${via}`, webSocket, async () => {
      calls++;
      return tokenOf(`expired-${via}`, inSeconds(-10));
    });
    await eventually(() => listener.states.at(-1)?.type === 'closed', 30_000);
    expect(listener.states.at(-1)).toMatchObject({ reason: 'rejected', code: 'TOKEN_EXPIRED' });
    expect(calls).toBe(2);
  }, 40_000);

  test('connects with a valid token after an invalid one', async () => {
    const clientId = `wrong-${via}`;
    let calls = 0;
    const listener = listen(clientId, webSocket, async () => {
      return ++calls === 1 ? tokenOf('another client') : tokenOf(clientId);
    });
    await eventually(() => isConnected(listener), 30_000);
    expect(calls).toBe(2);
    expect(listener.states[1]).toMatchObject({
      type: 'waiting',
      code: 'PERMISSION_DENIED',
      reason: 'HTTP 403: the token is for another clientId',
    });
  }, 60_000);
});

test('over a WebSocket, its token is renewed in place', async () => {
  const clientId = 'renewed';
  let calls = 0;
  // An edge requests a new token a minute before the expiry.
  const token = async () => tokenOf(clientId, inSeconds(++calls === 1 ? 63 : 3_600));
  const listener = listen(clientId, WebSocket, token);
  await eventually(() => calls === 2, 30_000);
  expect((await running.push.push(clientId, 'later')).verdict).toBe('WRITTEN');
  await eventually(() => listener.data.includes('later'));
  expect(listener.states.map(({ type }) => type)).toEqual(['connecting', 'connected']);
}, 60_000);

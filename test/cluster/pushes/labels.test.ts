/**
 * Goal: a broadcast with a selector reaches exactly the clients whose labels match, on every
 * protocol, whether the labels come from the token, a resume ticket or the query; bad ones are
 * rejected. Method: a cluster of processes with LONGLINE_AUTH=jwt; HTTP, `ws` and mqtt.js as
 * devices.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { credentials, Metadata, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { controlApi } from '../../../cli/control/api.js';
import { packageRoot } from '../../../common/process/package-root.js';
import {
  BroadcastRequest,
  type BroadcastResponse,
  PushServiceClient,
} from '../../../proto/gen/longline/v1/push.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { openWs, type WebSocketClient } from '../../support/devices/websocket-client.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';
import { SECRET, tokenOf } from '../../support/tokens.js';

const OPS = 'ops-token-0123456789';

let running: RunningCluster;
let backend: PushServiceClient;
let sse: SseClient;
let socket: WebSocketClient;
let mqtt: MqttDevice;
let mqttOverWs: MqttDevice;
const plain: SseClient[] = [];

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: 2,
    token: OPS,
    env: {
      LONGLINE_AUTH: 'jwt',
      LONGLINE_SHARD_COUNT: '64',
      LONGLINE_JWT_ALGORITHMS: 'HS256',
      LONGLINE_JWT_KEYS: SECRET,
      LONGLINE_TICKET_SECRET: SECRET.toUpperCase(),
      LONGLINE_LINK_TOKEN: 'link-token-0123456789',
      LONGLINE_BACKEND_TOKENS: `ops:push+presence+disconnect:${OPS}`,
      LONGLINE_EDGE_QUERY_LABELS: 'version,beta',
      LONGLINE_EDGE_LABEL_SETS_MAX: '5',
    },
  });
  backend = new PushServiceClient(running.cluster.routerAddress, credentials.createInsecure());
  const ios = { labels: { app: 'ios', region: 'eu' } };
  sse = await open('ios-sse', ios, 'version=5.2');
  socket = await openSocket('web', { labels: 'app=web region=us' });
  mqtt = await openMqtt('ios-mqtt', (host) => Number(host.split(':')[1]), ios);
  mqttOverWs = await openMqtt('tv', (host) => `ws://${host}/mqtt?labels=version%3D5.2+beta%3D`, {
    labels: { app: 'tv', version: '4' },
  });
  for (const clientId of ['plain-1', 'plain-2']) plain.push(await open(clientId, {}));
});

afterAll(async () => {
  for (const device of [sse, ...plain]) device?.close();
  await Promise.all([socket?.end(), mqtt?.close(), mqttOverWs?.close()]);
  backend?.close();
  await running?.stop();
});

/** Connects through the router, whose redirect has a ticket instead of the token. */
async function open(clientId: string, claims: object, query = ''): Promise<SseClient> {
  const url = `${running.connectUrl(clientId)}&labels=${query}`;
  const answer = await httpRequest(url, {
    headers: { authorization: `Bearer ${tokenOf(clientId, claims)}` },
  });
  expect(answer.status).toBe(307);
  return SseClient.open(answer.headers.location!);
}

/** URL at the owner, without a ticket. */
async function bareUrlOf(clientId: string): Promise<URL> {
  const headers = { accept: 'application/json', authorization: `Bearer ${tokenOf(clientId)}` };
  const url = new URL(
    JSON.parse((await httpRequest(running.connectUrl(clientId), { headers })).body).url,
  );
  url.searchParams.delete('ticket');
  return url;
}

async function openSocket(clientId: string, claims: object): Promise<WebSocketClient> {
  const token = `longline.token.${tokenOf(clientId, claims)}`;
  const opened = await openWs((await bareUrlOf(clientId)).href, 'longline.json', token);
  await opened.untilReceived(1);
  return opened;
}

async function openMqtt(
  clientId: string,
  serverOf: (host: string) => string | number,
  claims: object,
): Promise<MqttDevice> {
  const { host } = await bareUrlOf(clientId);
  const login = { username: 'any', password: tokenOf(clientId, claims) };
  const device = await MqttDevice.connect(serverOf(host), clientId, login);
  await device.subscribe(`push/${clientId}`);
  return device;
}

function select(selector: string, text: string): Promise<BroadcastResponse> {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${OPS}`);
  const payload = Buffer.from(text);
  const request = BroadcastRequest.fromPartial({ payload, clientsPerSecond: 100_000, selector });
  return new Promise((resolve, reject) => {
    backend.broadcast(request, metadata, (error, response) =>
      error ? reject(error) : resolve(response),
    );
  });
}

const dataOf = ({ events }: SseClient) =>
  events.filter(({ event }) => event !== 'ticket').map(({ data }) => data);
const payloadsOf = ({ envelopes }: WebSocketClient) =>
  envelopes.filter(({ type }) => type === 'push').map(({ data }) => data);

async function sumOfEdges(metric: string): Promise<number> {
  const values = await Promise.all(
    ['edge-1', 'edge-2'].map((edge) => running.metric(edge, metric)),
  );
  return values.reduce((sum, value) => sum + value, 0);
}

describe('a broadcast with a selector', () => {
  test('reaches exactly the clients that it selects, and counts the others', async () => {
    expect(await select('app=ios', 'ios')).toEqual({
      written: 2,
      slow: 0,
      dropped: 0,
      shardsUnknown: 0,
      shardsNotSent: 0,
      notSelected: 4,
      labelsUnknown: 0,
    });
    expect(await select('region notin (eu)', 'not eu')).toMatchObject({ written: 4 });
    expect(await select('!app', 'plain')).toMatchObject({ written: 2, notSelected: 4 });
    expect(await select('app=none', 'none')).toMatchObject({ written: 0, notSelected: 6 });
    expect(await select('', 'all')).toMatchObject({ written: 6, notSelected: 0 });
    await eventually(() => {
      expect(dataOf(sse)).toEqual(['ios', 'all']);
      expect(mqtt.payloads).toEqual(['ios', 'all']);
      expect(mqttOverWs.payloads).toEqual(['not eu', 'all']);
      expect(payloadsOf(socket)).toEqual(['not eu', 'all']);
      for (const device of plain) expect(dataOf(device)).toEqual(['not eu', 'plain', 'all']);
    });
    expect(await sumOfEdges('longline_edge_connections_labelled')).toBe(4);
    expect(await sumOfEdges('longline_edge_label_sets')).toBeGreaterThanOrEqual(4);
    expect(await sumOfEdges('longline_edge_broadcasts_selected_total')).toBeGreaterThan(0);
  });

  test('sees labels of the query, and those of the token before them', async () => {
    expect(await select('version=5.2', 'x')).toMatchObject({ written: 1 });
    expect(await select('version=4,beta=', 'x')).toMatchObject({ written: 1 });
  });

  test('sees the labels of a renewed token, and of a resume ticket', async () => {
    const token = tokenOf('web', { labels: { app: 'web', region: 'eu' } });
    await socket.send(JSON.stringify({ type: 'token', token }));
    await eventually(() => socket.envelopes.some(({ type }) => type === 'ticket'));
    expect(await select('region=eu,app=web', 'x')).toMatchObject({ written: 1 });
    const { ticket } = socket.envelopes.findLast(({ type }) => type === 'ticket')!;
    await socket.end();
    const url = await bareUrlOf('web');
    socket = await openWs(`${url.href}&ticket=${ticket}`, 'longline.json');
    await socket.untilReceived(1);
    expect(await select('region=eu,app=web', 'x')).toMatchObject({ written: 1 });
  });

  test('can be understood by the labels that presence and the operator API show', async () => {
    const { connections } = await running.push.presence('ios-sse');
    const labels = 'app=ios,region=eu,version=5.2';
    expect(connections).toMatchObject([{ labels }]);
    const explained = await controlApi(running.cluster.controlUrl).client('ios-sse');
    expect(explained.connections).toMatchObject([{ labels }]);
  });

  test('is rejected with the position if it cannot be parsed, and counted', async () => {
    await expect(select('app in ios', 'x')).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(/^SELECTOR_INVALID: the selector at character 8: expected/),
    });
    const counter = 'longline_router_requests_rejected_total';
    expect(await running.metric('router', counter, { code: 'SELECTOR_INVALID' })).toBe(1);
  });

  test('is a field of HTTP requests', async () => {
    const answer = await fetch(`${running.cluster.pushUrl()}/v1/broadcast`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${OPS}` },
      body: JSON.stringify({ payload: 'http', clientsPerSecond: 10_000, selector: 'app=ios' }),
    });
    expect(await answer.json()).toMatchObject({ written: 2, notSelected: 4, labelsUnknown: 0 });
  });

  test('is an option of the command line', async () => {
    const args = ['broadcast', 'cli', '--rate', '10000', '--selector', 'app=ios'];
    const env = {
      ...process.env,
      LONGLINE_ROUTER: running.cluster.routerAddress,
      LONGLINE_TOKEN: OPS,
    };
    const longline = join(packageRoot, 'dist/cli/main.js');
    const { stdout } = await promisify(execFile)(process.execPath, [longline, ...args], { env });
    expect(stdout).toBe('written to 2 clients, 0 slow clients, 4 not selected\n');
  });

  test('counts the clients whose labels an edge does not know', async () => {
    const devices: SseClient[] = [];
    const clientIds = await running.clientIdsOf('edge-1', 6, 'many');
    for (const clientId of clientIds) {
      devices.push(await open(clientId, { labels: { name: clientId } }));
    }
    const answer = await select('!name', 'x');
    expect(answer.labelsUnknown).toBeGreaterThan(0);
    expect(answer.written + answer.notSelected + answer.labelsUnknown).toBe(12);
    expect(dataOf(devices.at(-1)!)).toEqual([]);
    expect(devices.at(-1)!.events).toEqual([]);
    const counter = 'longline_edge_label_sets_over_limit_total';
    expect(await running.metric('edge-1', counter)).toBe(answer.labelsUnknown);
    for (const device of devices) device.close();
    await eventually(async () => (await sumOfEdges('longline_edge_connections_labelled')) === 4);
  });
});

describe('a device with bad labels', () => {
  test.each([
    [{ app: '-' }, '', /the label value "-" is invalid/],
    [{ app: 5 }, '', /the value of the label "app" is no string/],
    [['app'], '', /neither an object of strings nor a string/],
    [{}, 'app=ios', /the query may not set the label app/],
    [{}, 'version', /the label "version" has no value/],
    [{}, '%ff', /not percent-encoded UTF-8/],
  ])('%j in its token, %s in its query, is rejected', async (labels, query, message) => {
    const url = `${(await bareUrlOf('bad')).href}&labels=${query}`;
    const token = tokenOf('bad', { labels });
    const rejected = () => sumOfEdges('longline_edge_requests_rejected_total');
    const before = await rejected();
    const answer = await httpRequest(url, { headers: { authorization: `Bearer ${token}` } });
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.body).error).toMatchObject({
      code: 'LABELS_INVALID',
      message: expect.stringMatching(message),
    });
    expect(await rejected()).toBe(before + 1);
  });

  test('is rejected on MQTT with code 5, and in version 5 with 0x87', async () => {
    const { host } = await bareUrlOf('bad');
    const token = (labels: object) => ({
      username: 'any',
      password: tokenOf('bad', { labels }),
    });
    const port = Number(host.split(':')[1]);
    await expect(
      MqttDevice.connect(port, 'bad', { protocolVersion: 4, ...token({ app: '-' }) }),
    ).rejects.toMatchObject({ code: 5 });
    await expect(
      MqttDevice.connect(`ws://${host}/mqtt?labels=app%3Dios`, 'bad', {
        protocolVersion: 5,
        ...token({}),
      }),
    ).rejects.toMatchObject({ code: 0x87 });
  });
});

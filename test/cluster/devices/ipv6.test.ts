/**
 * Goal: a cluster works entirely over IPv6, and with `::` over both families on every port. Method:
 * one cluster on ::1, Redis included, and one on ::; devices of each protocol, through edges and
 * through the front.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect } from '@jest/globals';
import WebSocket from 'ws';
import { LocalCluster } from '../../../cli/local/cluster.js';
import { joinHostPort } from '../../../common/net/host-port.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { LIVE, PushClient } from '../../support/cluster/push-client.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { CURL, testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';
import { testIpv6 } from '../../support/ipv6.js';

const READY_MS = 90_000;
const execute = promisify(execFile);

let redis: TestRedis;
const clusters: LocalCluster[] = [];

beforeAll(async () => {
  redis = await startRedis(['--bind', '127.0.0.1', '::1']);
});

afterAll(async () => {
  for (const cluster of clusters) await cluster.stop();
  await redis.stop();
});

async function start(
  host: string,
  redisHost: string,
  env: NodeJS.ProcessEnv = {},
): Promise<LocalCluster> {
  const cluster = await LocalCluster.start({
    redisUrl: `redis://${joinHostPort(redisHost, redis.port)}`,
    edges: 1,
    ports: 'free',
    restart: false,
    env: { LONGLINE_HOST: host, ...env },
  });
  clusters.push(cluster);
  await cluster.waitUntilReady(READY_MS);
  return cluster;
}

/** Connects a device of each protocol at `edge` and `front`; each receives a push. */
async function receiveAll(
  push: PushClient,
  edge: string,
  front: string,
  address: string,
): Promise<void> {
  const host = (url: string) => url.replace('http://', '');
  const addresses = { edge: host(edge), front: host(front) };
  for (const [place, at] of Object.entries(addresses)) {
    const id = (protocol: string) => `${protocol}-${place}-${address}`;
    const sse = await SseClient.open(`http://${at}/connect?clientId=${id('sse')}`);
    const socket = new WebSocket(`ws://${at}/connect?clientId=${id('ws')}`);
    const texts: string[] = [];
    socket.on('message', (data) => texts.push(String(data)));
    const mqtt = await MqttDevice.connect(`mqtt://${at}`, id('mqtt'));
    const url = `ws://${at}/mqtt`;
    // mqtt.js drops the brackets of an address.
    const transformWsUrl = () => url;
    const overWs = await MqttDevice.connect(url, id('mqtt-ws'), { transformWsUrl });
    for (const device of [mqtt, overWs]) await device.subscribe('#');
    for (const protocol of ['sse', 'ws', 'mqtt', 'mqtt-ws']) {
      await eventually(async () => {
        const { verdict } = await push.push(id(protocol), 'hello', LIVE);
        expect([protocol, verdict]).toEqual([protocol, 'WRITTEN']);
      });
      const { connections } = await push.presence(id(protocol));
      expect(connections[0]!.remoteAddress).toMatch(`${address}:`);
    }
    await eventually(() => {
      expect(sse.events.map(({ data }) => data)).toContain('hello');
      expect(texts.join()).toContain('hello');
      for (const device of [mqtt, overWs]) expect(device.payloads).toContain('hello');
    });
    sse.close();
    socket.terminate();
    for (const device of [mqtt, overWs]) device.client.end(true);
  }
}

testIpv6('a cluster on ::1 serves every protocol, and all its addresses are IPv6', async () => {
  const cluster = await start('::1', '::1');
  const push = new PushClient(cluster.routerAddress);
  try {
    const url = `${cluster.routerUrl}/connect?clientId=alice`;
    const { headers } = await httpRequest(url);
    expect(headers.location).toMatch(/^http:\/\/\[::1\]:\d+\/connect\?clientId=alice/);
    await receiveAll(push, cluster.edgeUrl('edge-1'), cluster.frontUrl(), '[::1]');
  } finally {
    push.close();
  }
});

testIpv6('the command line calls control and router at IPv6 addresses', async () => {
  const [cluster] = clusters;
  const longline = join(packageRoot, 'dist/cli/main.js');
  const run = (...args: string[]) => execute(process.execPath, [longline, ...args]);
  const control = ['--control', cluster!.controlUrl];
  expect((await run('status', ...control)).stdout).toContain(cluster!.edgeUrl('edge-1'));
  const router = ['--router', cluster!.routerAddress, '--wait-for', 'stored'];
  expect((await run('push', 'bob', 'hello', ...router)).stdout).toContain('STORED');
  const bare = run('push', 'bob', 'hello', '--router', '::1:7101').catch(({ stderr }) => stderr);
  expect(await bare).toContain('IPv6 address without brackets');
});

testWith(CURL)('curl follows the redirect to an IPv6 edge', async () => {
  const url = `${clusters[0]!.routerUrl}/connect?clientId=curl`;
  const running = execute('curl', ['-sS', '-N', '-L', '-w', '%{url_effective}', url]);
  const push = new PushClient(clusters[0]!.routerAddress);
  // It prints the URL at its end.
  await eventually(async () => (await push.disconnect('curl')).closed === 1);
  push.close();
  const { stdout } = await running.catch((error) => error);
  expect(stdout).toMatch(/http:\/\/\[::1\]:\d+\/connect/);
});

testIpv6.each(['native', 'net'])(
  'a cluster on :: accepts both families with the transport %s',
  async (transport) => {
    const cluster = await start('::', '127.0.0.1', { LONGLINE_TRANSPORT: transport });
    const at = (url: string, host: string) => url.replace('localhost', host);
    for (const host of ['127.0.0.1', '[::1]']) {
      const push = new PushClient(at(cluster.routerAddress, host));
      for (const name of cluster.names) {
        const ready = await httpRequest(`${at(cluster.httpUrl(name), host)}/readyz`);
        expect(ready.status).toBe(200);
      }
      const [edge, front] = [cluster.edgeUrl('edge-1'), cluster.frontUrl()];
      await receiveAll(push, at(edge, host), at(front, host), host);
      push.close();
    }
  },
);

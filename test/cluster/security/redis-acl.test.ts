/**
 * Goal: the ACL rule in docs/kubernetes.md grants all that Longline needs.
 * Method: a cluster of processes on a Redis with that user; every operation of backends, devices and
 * operators once; then the ACL log of Redis must be empty.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { controlApi } from '../../../cli/control/api.js';
import { LocalCluster } from '../../../cli/local/cluster.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { AcceptLevel, WaitFor } from '../../../proto/gen/longline/v1/push.js';
import { untilCaughtUp } from '../../support/cluster/metric.js';
import { LIVE, PushClient } from '../../support/cluster/push-client.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';

const PASSWORD = 'of-this-test';
const READY_MS = 60_000;

let redis: TestRedis;
let cluster: LocalCluster;
let backend: PushClient;
let admin: Redis;

/** The arguments of `user longline …` in the document. */
function documentedRule(): string[] {
  const document = readFileSync(join(packageRoot, 'docs/kubernetes.md'), 'utf8');
  const rule = /^user (longline on .*(?:\n {2}.*)*)/m.exec(document)![1]!;
  return rule.replace('>PASSWORD', `>${PASSWORD}`).split(/\s+/);
}

beforeAll(async () => {
  const everything = ['on', `>${PASSWORD}`, '~*', '&*', '+@all'];
  redis = await startRedis([
    ...['--appendonly', 'yes', '--appendfsync', 'always'],
    ...['--user', 'admin', ...everything, '--user', 'default', 'off'],
    ...['--user', ...documentedRule()],
  ]);
  admin = new Redis(redis.port, '127.0.0.1', { username: 'admin', password: PASSWORD });
  cluster = await LocalCluster.start({
    redisUrl: `redis://longline:${PASSWORD}@127.0.0.1:${redis.port}`,
    edges: 2,
    controls: 2,
    ports: 'free',
    restart: false,
  });
  backend = new PushClient(cluster.routerAddress);
  await cluster.waitUntilReady(READY_MS);
}, 2 * READY_MS);

afterAll(async () => {
  backend?.close();
  await cluster?.stop();
  admin?.disconnect();
  await redis?.stop();
}, 30_000);

test(
  'the documented Redis user is allowed every command',
  async () => {
    const url = `${cluster.routerUrl}/connect?clientId=alice`;
    const key = { idempotencyKey: 'order-17' };
    expect(await backend.push('alice', 'stored', key)).toMatchObject({ verdict: 'STORED' });
    expect(await backend.push('alice', 'stored', key)).toMatchObject({ verdict: 'DUPLICATE' });
    const device = await SseClient.open(url);
    await eventually(() => device.data.includes('stored'));
    expect(await backend.push('alice', 'live', LIVE)).toMatchObject({ verdict: 'WRITTEN' });
    const { messageId } = await backend.push('alice', 'written');
    await eventually(() => device.data.includes('written'));
    expect((await backend.presence('alice')).connections).toHaveLength(1);

    const again = await SseClient.open(`${url}&lastEventId=${messageId}`);
    await eventually(() => device.events.some(({ event }) => event === 'session-replaced'));
    await untilCaughtUp(cluster);
    expect(await backend.push('alice', 'after it')).toMatchObject({ verdict: 'WRITTEN' });
    await eventually(() => again.data.includes('after it'));

    const acceptLevel = AcceptLevel.ACCEPT_LEVEL_FSYNCED;
    expect(await backend.push('alice', 'fsynced', { acceptLevel })).toMatchObject({
      verdict: 'WRITTEN',
    });
    // Without a replica it is not confirmed, but WAIT must be allowed.
    await backend.push('alice', 'replicated', {
      acceptLevel: AcceptLevel.ACCEPT_LEVEL_REPLICATED,
      replicas: 1,
      waitMs: 500,
    });
    const operator = controlApi(cluster.controlUrl);
    expect((await operator.cluster()).shardsUnowned).toBe(0);
    expect((await operator.client('alice')).inbox).toMatchObject({ count: expect.any(Number) });
    await operator.perform('pause', {});
    await operator.perform('resume', {});
    await eventually(async () => expect(await admin.exists('ll:{events}:operator')).toBe(1));
    await backend.disconnect('alice');
    device.close();
    again.close();

    // Creates, resumes and discards an MQTT session.
    const port = Number(new URL(cluster.edgeUrl('edge-1')).port);
    for (const clean of [false, false, true]) {
      const phone = await MqttDevice.connect(port, 'phone', { clean });
      await phone.subscribe('#');
      const waitFor = WaitFor.WAIT_FOR_ACKED;
      expect(await backend.push('phone', 'hello', { waitFor })).toMatchObject({ verdict: 'ACKED' });
      await phone.client.unsubscribeAsync('#');
      await phone.close();
    }

    expect(await admin.acl('LOG')).toEqual([]);
  },
  READY_MS,
);

test(
  'a user without access to the channels fails the startup check',
  async () => {
    await admin.acl('SETUSER', 'mute', 'on', `>${PASSWORD}`, '~ll:*', '+@all', 'resetchannels');
    const starting = LocalCluster.start({
      redisUrl: `redis://mute:${PASSWORD}@127.0.0.1:${redis.port}`,
      edges: 1,
      ports: 'free',
      restart: false,
    });
    await expect(starting).rejects.toThrow(/NOPERM/);
  },
  READY_MS,
);

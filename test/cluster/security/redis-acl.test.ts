/**
 * Goal: the ACL rule in docs/kubernetes.md grants all that Longline needs, and two clusters on one
 * Redis do not reach each other. Method: a cluster of processes on a Redis with that user; every
 * operation of backends, devices and operators once; then the ACL log of Redis must be empty. A
 * second cluster with another prefix and user on the same Redis; processes whose settings belong to
 * neither.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { controlApi } from '../../../cli/control/api.js';
import { LocalCluster } from '../../../cli/local/cluster.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { AcceptLevel, WaitFor } from '../../../proto/gen/longline/v1/push.js';
import { EventWatch } from '../../support/cluster/event-watch.js';
import { metricOf, untilCaughtUp } from '../../support/cluster/metric.js';
import { LIVE, PushClient } from '../../support/cluster/push-client.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { startRole } from '../../support/cluster/role.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';

const PASSWORD = 'of-this-test';
const READY_MS = 60_000;

let redis: TestRedis;
let cluster: LocalCluster;
let backend: PushClient;
let admin: Redis;

/** The arguments of `user longline …` in the document, with another name and a prefix. */
function documentedRule(prefix: string): string[] {
  const document = readFileSync(join(packageRoot, 'docs/kubernetes.md'), 'utf8');
  const rule = /^user (longline on .*(?:\n {2}.*)*)/m.exec(document)![1]!;
  return rule
    .replace('longline', prefix)
    .replace('>PASSWORD', `>${PASSWORD}`)
    .replaceAll('PREFIX', prefix)
    .split(/\s+/);
}

const urlOf = (user: string) => `redis://${user}:${PASSWORD}@127.0.0.1:${redis.port}`;

const envOf = (prefix: string) => ({
  LONGLINE_REDIS_PREFIX: prefix,
  LONGLINE_CLUSTER_NAME: `${prefix}-cluster`,
  LONGLINE_EVENTS: 'clients,pushes',
});

beforeAll(async () => {
  const everything = ['on', `>${PASSWORD}`, '~*', '&*', '+@all'];
  redis = await startRedis([
    ...['--appendonly', 'yes', '--appendfsync', 'always'],
    ...['--user', 'admin', ...everything, '--user', 'default', 'off'],
    ...['--user', ...documentedRule('prod'), '--user', ...documentedRule('staging')],
  ]);
  admin = new Redis(redis.port, '127.0.0.1', { username: 'admin', password: PASSWORD });
  cluster = await LocalCluster.start({
    redisUrl: urlOf('prod'),
    edges: 2,
    controls: 2,
    ports: 'free',
    restart: false,
    env: envOf('prod'),
  });
  backend = new PushClient(cluster.routerAddress);
  await cluster.waitUntilReady(READY_MS);
});

afterAll(async () => {
  backend?.close();
  await cluster?.stop();
  admin?.disconnect();
  await redis?.stop();
});

test('the documented Redis user is allowed every command', async () => {
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
  await eventually(async () => expect(await admin.exists('prod:ll:{events}:operator')).toBe(1));
  await backend.disconnect('alice');
  const phone = await SseClient.open(`${cluster.routerUrl}/connect?clientId=bob/phone`);
  // The edge announces the device after it has accepted it.
  await eventually(async () => {
    const { devices } = await backend.pushUser('bob', 'to all');
    expect(devices).toMatchObject([{ clientId: 'bob/phone', outcome: { $case: 'push' } }]);
  });
  await backend.joinGroup('room', 'alice', 'bob', 'carol/1');
  const group = { group: 'room' };
  expect(await backend.pushGroup('room', 'to all')).toMatchObject({ failed: 0, resumeToken: '' });
  expect((await backend.listGroups({ member: 'bob' })).groups).toEqual(['room']);
  expect((await backend.listMembers(group)).members).toHaveLength(3);
  expect(await backend.leaveGroup('room', 'bob')).toMatchObject({ left: 1 });
  expect(await backend.deleteGroup('room')).toEqual({ removed: 2 });
  expect((await backend.listGroups()).groups).toEqual([]);
  phone.close();
  device.close();
  const watch = new EventWatch(cluster.routerAddress, { group: 'acl', start: 'oldest' });
  await backend.push('carol', 'unread', { notifyUnreadAfterMs: 1 });
  await eventually(() => watch.of('carol').length > 0, READY_MS);
  // Its events are in another partition, which is read on its own.
  await eventually(() => expect(watch.of('alice')).toContain('push.confirmed'));
  await eventually(async () => expect(await admin.keys('prod:ll:*:evc')).not.toEqual([]));
  watch.close();
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
});

test('a user without access to the channels fails the startup check', async () => {
  await admin.acl('SETUSER', 'mute', 'on', `>${PASSWORD}`, '~prod:ll:*', '+@all', 'resetchannels');
  const starting = LocalCluster.start({
    redisUrl: urlOf('mute'),
    edges: 1,
    ports: 'free',
    restart: false,
    env: envOf('prod'),
  });
  await expect(starting).rejects.toThrow(/NOPERM/);
});

test('two clusters with different prefixes do not receive the pushes of the other', async () => {
  await admin.acl('LOG', 'RESET');
  const staging = await LocalCluster.start({
    redisUrl: urlOf('staging'),
    edges: 1,
    ports: 'free',
    restart: false,
    env: envOf('staging'),
  });
  const stagingBackend = new PushClient(staging.routerAddress);
  try {
    await staging.waitUntilReady(READY_MS);
    const stored = await backend.push('both', 'stored in production');
    expect(stored).toMatchObject({ verdict: 'STORED' });
    const [inStaging, inProduction] = [
      await SseClient.open(`${staging.routerUrl}/connect?clientId=both`),
      await SseClient.open(`${cluster.routerUrl}/connect?clientId=both`),
    ];
    await untilCaughtUp(cluster);
    await untilCaughtUp(staging);
    expect(await stagingBackend.push('both', 'to staging')).toMatchObject({ verdict: 'WRITTEN' });
    expect(await backend.push('both', 'to production', LIVE)).toMatchObject({
      verdict: 'WRITTEN',
    });
    await eventually(() => inStaging.data.length > 0 && inProduction.data.length > 1);
    expect(inStaging.data).toEqual(['to staging']);
    expect(inProduction.data).toEqual(['stored in production', 'to production']);
    expect((await stagingBackend.presence('both')).connections).toHaveLength(1);
    await stagingBackend.disconnect('both');
    await inStaging.ended;
    expect((await backend.presence('both')).connections).toHaveLength(1);
    inProduction.close();
    const keys = await admin.keys('*');
    expect(keys.filter((key) => !/^(prod|staging):ll:/.test(key))).toEqual([]);
    const channels = (await admin.call('PUBSUB', 'SHARDCHANNELS')) as string[];
    expect(channels.filter((name) => !/^(prod|staging):l[lr]:\{/.test(name))).toEqual([]);
    expect(await admin.acl('LOG')).toEqual([]);
  } finally {
    stagingBackend.close();
    await staging.stop();
  }
});

test('durable pushes are stored while Redis rejects subscriptions or kills them, and arrive later', async () => {
  const device = await SseClient.open(`${cluster.routerUrl}/connect?clientId=quiet`);
  await untilCaughtUp(cluster);
  const stored: string[] = [];
  const push = async (payload: string) => {
    const { verdict } = await backend.push('quiet', payload, { waitMs: 500 });
    expect(['STORED', 'WRITTEN']).toContain(verdict);
    stored.push(payload);
    return verdict;
  };
  for (let i = 0; i < 20; i++) {
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await push(`killed ${i}`);
  }
  await admin.acl('SETUSER', 'prod', '-ssubscribe');
  await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  const readyz = async (name: string) => {
    const { status, body } = await httpRequest(`${cluster.httpUrl(name)}/readyz`);
    return { status, reasons: JSON.parse(body).reasons.join() };
  };
  const isSilent = expect.stringContaining('the last probe returned through Redis');
  await eventually(async () => {
    for (const name of ['router', 'control']) {
      expect(await readyz(name)).toEqual({ status: 200, reasons: isSilent });
    }
    expect(await readyz('edge-1')).toEqual({ status: 503, reasons: isSilent });
  });
  expect(await push('rejected')).toBe('STORED');
  const key = { idempotencyKey: 'rejected' };
  expect(await backend.push('quiet', 'once', key)).toMatchObject({ verdict: 'STORED' });
  expect(await backend.push('quiet', 'once', key)).toMatchObject({ verdict: 'DUPLICATE' });
  const live = backend.push('quiet', 'live', LIVE);
  await expect(live).rejects.toThrow(/not confirmed a reply channel/);
  await admin.acl('SETUSER', 'prod', '+ssubscribe');
  await eventually(() => expect(device.data).toEqual([...stored, 'once']), READY_MS);
  await cluster.waitUntilReady(READY_MS);
  await admin.acl('LOG', 'RESET');
  device.close();
});

/** Runs a control that is expected to exit at its start. */
function startControl(env: NodeJS.ProcessEnv) {
  return spawnSync(process.execPath, [join(packageRoot, 'dist/control/main.js')], {
    encoding: 'utf8',
    timeout: READY_MS,
    env: {
      LONGLINE_AUTH: 'none',
      LONGLINE_HOST: '127.0.0.1',
      LONGLINE_CONTROL_HTTP_PORT: '0',
      LONGLINE_CONTROL_GRPC_PORT: '0',
      LONGLINE_REDIS_URL: urlOf('prod'),
      ...envOf('prod'),
      ...env,
    },
  });
}

test.each([
  [
    'another name',
    { LONGLINE_CLUSTER_NAME: 'other' },
    /"other".* the cluster "prod-cluster" under prod:ll:settings/,
  ],
  ['no name', { LONGLINE_CLUSTER_NAME: '' }, /LONGLINE_CLUSTER_NAME is not set.*"prod-cluster"/],
  ['another shard count', { LONGLINE_SHARD_COUNT: '64' }, /was started with 4096/],
  ['a prefix that its user may not use', { LONGLINE_REDIS_PREFIX: 'x' }, /rejects us: NOPERM/],
  ['a database', { LONGLINE_REDIS_URL: 'redis://127.0.0.1/1' }, /database other than 0/],
  ['a malformed URL', { LONGLINE_REDIS_URL: 'redis://:a%@127.0.0.1' }, /write % as %25/],
])('a process with %s does not start, and says why', (_, env, message) => {
  const { status, stderr } = startControl(env);
  expect(stderr).toMatch(message);
  expect(status).toBe(78);
});

test('control rejects the link of an edge with another prefix', async () => {
  await admin.acl('SETUSER', 'everything', 'on', `>${PASSWORD}`, '~*', '&*', '+@all');
  const edge = await startRole('edge', {
    LONGLINE_REDIS_URL: urlOf('everything'),
    LONGLINE_REDIS_PREFIX: 'typo',
    LONGLINE_EDGE_ID: 'edge-9',
    LONGLINE_EDGE_PORT: '0',
    LONGLINE_EDGE_ADMIN_PORT: '0',
    LONGLINE_CONTROL_ADDRESS: cluster
      .namesOf('control')
      .map((name) => cluster.grpcAddress(name))
      .join(),
  });
  try {
    const rejected = async () => {
      const counts = await Promise.all(
        cluster
          .namesOf('control')
          .map((name) => metricOf(cluster.httpUrl(name), 'longline_control_links_rejected_total')),
      );
      return counts.some((count) => count > 0);
    };
    await eventually(rejected, READY_MS);
    const edges = await controlApi(cluster.controlUrl).edges();
    expect(edges.map(({ id }) => id)).not.toContain('edge-9');
  } finally {
    await edge.stop();
  }
});

/** The last test: it ends the cluster. */
test('all processes end when Redis has the settings of another cluster', async () => {
  const control = await startRole('control', {
    LONGLINE_REDIS_URL: urlOf('prod'),
    LONGLINE_CONTROL_HTTP_PORT: '0',
    LONGLINE_CONTROL_GRPC_PORT: '0',
    ...envOf('prod'),
  });
  // As after a backup of another cluster was restored.
  await admin.hset('prod:ll:settings', 'clusterName', 'other');
  expect(await control.exited).toBe(78);
  await eventually(() => cluster.names.every((name) => cluster.pid(name) === undefined), READY_MS);
});

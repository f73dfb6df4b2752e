/**
 * **Goal:** whatever a Redis Cluster does to its slots, subscriptions end up on the right master,
 * what was missed is reported, and a publish to every channel arrives.
 *
 * **Method:** three real masters with replicas; slots are moved and masters killed while 4096
 * channels are subscribed.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import keySlot from 'cluster-key-slot';
import { pino } from 'pino';
import { PrivateChannels } from '../../../common/cluster/private-channels.js';
import { shardChannel, shardTags } from '../../../common/cluster/shard.js';
import { Metrics } from '../../../common/process/metrics.js';
import { openRedis, type RedisLink } from '../../../common/redis/redis-link.js';
import { startRedisCluster, type TestCluster } from '../../support/cluster/redis-cluster.js';
import { eventually } from '../../support/eventually.js';
import { RecordingSubscriber } from '../../support/recording-subscriber.js';

const log = pino({ level: 'silent' });
const tags = shardTags(4096);
const channels = tags.map(shardChannel);
const metrics = new Metrics();
let cluster: TestCluster;
let link: RedisLink;
let privates: PrivateChannels;
let ear: RecordingSubscriber;

beforeAll(async () => {
  cluster = await startRedisCluster();
  link = await openRedis({ urls: cluster.urls.slice(0, 2), name: 'test', log, metrics });
  privates = new PrivateChannels(link, 4096, 'p1', log);
  ear = new RecordingSubscriber();
  for (const channel of channels) link.subscriber.want(channel, ear);
  await allConfirmed();
}, 40_000);

afterAll(async () => {
  privates?.close();
  await link?.close();
  await cluster?.stop();
});

function allConfirmed(deadlineMs = 5_000): Promise<unknown> {
  return eventually(
    () => ear.confirmed.size === channels.length && privates.notDeliveringReasons().length === 0,
    deadlineMs,
  );
}

/** Rejected publishes are tried again, as whoever publishes would. */
async function everyPublishArrives(): Promise<void> {
  ear.heard.clear();
  await Promise.all(
    channels.map((channel) =>
      eventually(async () => (await link.publish(channel, Buffer.from('x'))).type === 'published'),
    ),
  );
  await eventually(() => expect(ear.heard.size).toBe(channels.length));
}

function otherMaster(address: string): string {
  return link.subscriber.masters().find((master) => master !== address)!;
}

test('every channel is confirmed on its own master', async () => {
  expect(link.isCluster).toBe(true);
  expect(link.subscriber.masters()).toHaveLength(3);
  for (const master of link.subscriber.masters()) {
    const listed = (await cluster.call(master, 'PUBSUB', 'SHARDCHANNELS', 'll:*')) as string[];
    expect(new Set(listed)).toEqual(
      new Set(channels.filter((channel) => link.subscriber.masterOf(channel) === master)),
    );
    expect(listed.length).toBeGreaterThan(1300);
  }
  await everyPublishArrives();
});

test('a link opens at the first try, although every master is a seed', async () => {
  for (let i = 0; i < 10; i++) {
    const opened = await openRedis({
      urls: cluster.urls,
      name: 'test',
      log,
      metrics: new Metrics(),
    });
    const outcomes = await Promise.all(
      tags.map((tag) => opened.execute('get', [`ll:{${tag}}:seq`])),
    );
    await opened.close();
    expect(outcomes.filter(({ type }) => type !== 'done')).toEqual([]);
  }
});

test('answers are asked for on the master of the shard', () => {
  for (const tag of tags) {
    const replyChannel = privates.replyChannelFor(tag)!;
    expect(link.subscriber.masterOf(replyChannel)).toBe(link.subscriber.masterOf(`ll:{${tag}}`));
  }
});

test('a slot that moves away and back loses its channel twice and gets it back', async () => {
  const channel = channels[7]!;
  const home = link.subscriber.masterOf(channel)!;
  const away = otherMaster(home);
  for (const to of [away, home]) {
    const losses = ear.losses;
    await cluster.migrateSlot(keySlot(channel), to);
    await eventually(() => ear.losses > losses);
    await allConfirmed(2_000);
    await eventually(() => link.subscriber.masterOf(channel) === to);
    expect(ear.losses).toBe(losses + 1);
    await everyPublishArrives();
  }
});

test('a slot that moves away and back at once is noticed, too', async () => {
  const channel = channels[11]!;
  const home = link.subscriber.masterOf(channel)!;
  const losses = ear.losses;
  await cluster.migrateSlot(keySlot(channel), otherMaster(home));
  await cluster.migrateSlot(keySlot(channel), home);
  await eventually(() => ear.losses > losses);
  await allConfirmed(2_000);
  await everyPublishArrives();
});

test('a master that is killed is replaced by its replica', async () => {
  const killed = link.subscriber.masters()[0]!;
  const orphans = channels.filter((channel) => link.subscriber.masterOf(channel) === killed);
  const cpuBefore = process.cpuUsage();
  const killedAtMs = performance.now();
  await cluster.killNode(killed);
  await eventually(() => orphans.every((channel) => ear.lost.has(channel)));
  expect((await link.publish(orphans[0]!, Buffer.from('x'))).type).not.toBe('published');
  await allConfirmed(15_000);
  const { user, system } = process.cpuUsage(cpuBefore);
  // ioredis' own sharded subscribers spin here: they take a whole core.
  expect((user + system) / 1000).toBeLessThan((performance.now() - killedAtMs) / 2);
  expect(link.subscriber.masters()).not.toContain(killed);
  await everyPublishArrives();

  // It comes back as a replica of its replica, and nothing changes.
  const losses = ear.losses;
  await cluster.restartNode(killed);
  await eventually(async () => String(await cluster.call(killed, 'ROLE')).startsWith('slave'));
  await everyPublishArrives();
  expect(ear.losses).toBe(losses);
}, 40_000);

test('a master that hands over to its replica loses its channels to it', async () => {
  const demoted = link.subscriber.masters()[1]!;
  const moved = channels.filter((channel) => link.subscriber.masterOf(channel) === demoted);
  const replica = await cluster.replicaOf(demoted);
  await cluster.call(replica, 'CLUSTER', 'FAILOVER');
  await eventually(() => moved.every((c) => link.subscriber.masterOf(c) === replica), 10_000);
  await allConfirmed(5_000);
  await everyPublishArrives();
}, 40_000);

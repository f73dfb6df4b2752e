/**
 * **Goal:** after every change of a Redis Cluster's slots, subscriptions are on the right master,
 * losses were reported, and a publish to every channel arrives.
 *
 * **Method:** three real masters with replicas; slots are moved and masters killed while 4096
 * channels are subscribed.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import keySlot from 'cluster-key-slot';
import { pino } from 'pino';
import { freePort } from '../../../cli/local/ports.js';
import { readShardCounters } from '../../../common/cluster/history/shard-counters.js';
import { PrivateChannels } from '../../../common/cluster/private-channels.js';
import { shardTags } from '../../../common/cluster/shard.js';
import { Metrics } from '../../../common/process/metrics.js';
import { openRedis, type RedisLink } from '../../../common/redis/redis-link.js';
import { startRedisCluster, type TestCluster } from '../../support/cluster/redis-cluster.js';
import { eventually } from '../../support/eventually.js';
import { RecordingSubscriber } from '../../support/recording-subscriber.js';

const log = pino({ level: 'silent' });
const tags = shardTags(4096);
const channels = tags.map((tag) => `ll:{${tag}}`);
const metrics = new Metrics();
let cluster: TestCluster;
let link: RedisLink;
let privateChannels: PrivateChannels;
let handler: RecordingSubscriber;

beforeAll(async () => {
  cluster = await startRedisCluster();
  link = await openRedis({ urls: cluster.urls.slice(0, 2), name: 'test', log, metrics });
  privateChannels = new PrivateChannels(link, 4096, 'p1', log, metrics);
  handler = new RecordingSubscriber();
  for (const channel of channels) link.subscriber.subscribe(channel, handler);
  await allConfirmed();
});

afterAll(async () => {
  privateChannels?.close();
  await link?.close();
  await cluster?.stop();
});

function allConfirmed(): Promise<unknown> {
  return eventually(
    () =>
      handler.confirmed.size === channels.length &&
      privateChannels.notDeliveringReasons().length === 0,
  );
}

/** Publishes to every channel, with retries while rejected, and waits for the messages. */
async function expectEveryPublishToArrive(): Promise<void> {
  handler.messages.clear();
  await Promise.all(
    channels.map((channel) =>
      eventually(async () => (await link.publish(channel, Buffer.from('x'))).type === 'published'),
    ),
  );
  await eventually(() => expect(handler.messages.size).toBe(channels.length));
}

function otherMaster(address: string): string {
  return link.subscriber.masters().find((master) => master !== address)!;
}

test('each master is checked at the start, and while running', async () => {
  const second = otherMaster(new URL(cluster.urls[0]!).host);
  await cluster.call(second, 'CONFIG', 'SET', 'maxmemory-policy', 'volatile-lru');
  const opening = openRedis({
    urls: [cluster.urls[0]!],
    name: 'test',
    log,
    metrics: new Metrics(),
  });
  await expect(opening).rejects.toThrow(`${second}: maxmemory-policy is volatile-lru`);
  await eventually(() => link.requirements.unmetReasons().length === 1);
  expect(link.requirements.unmetReasons()[0]).toContain(`Redis ${second}: maxmemory-policy`);
  await cluster.call(second, 'CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
  await eventually(() => link.requirements.unmetReasons().length === 0);
});

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
  await expectEveryPublishToArrive();
});

test('a link opens at the first try, although every master is a seed', async () => {
  for (let i = 0; i < 10; i++) {
    const opened = await openRedis({
      urls: cluster.urls,
      name: 'test',
      log,
      metrics: new Metrics(),
    });
    // Some of every master, and few enough for a busy machine.
    const some = tags.filter((_, shard) => shard % 64 === 0);
    const outcomes = await Promise.all(
      some.map((tag) => opened.execute('get', [`ll:{${tag}}:seq`])),
    );
    await opened.close();
    expect(outcomes.filter(({ type }) => type !== 'done')).toEqual([]);
  }
});

test('replies to a query are received through the master of the shard', () => {
  for (const tag of tags) {
    const replyChannel = privateChannels.replyChannelFor(`ll:{${tag}}`)!;
    expect(link.subscriber.masterOf(replyChannel)).toBe(link.subscriber.masterOf(`ll:{${tag}}`));
  }
});

test('the counters of all shards are read with one command per master', async () => {
  const readAll = () => readShardCounters(link, channels);
  expect(await readAll()).toEqual(channels.map(() => 0));
  const evaluated = async () => {
    const stats = await Promise.all(
      link.subscriber.masters().map((master) => cluster.call(master, 'INFO', 'commandstats')),
    );
    return stats.map((text) => Number(/cmdstat_eval:calls=(\d+)/.exec(String(text))?.[1] ?? 0));
  };
  const numbers = channels.map((_, i) => (i % 100 === 0 ? i : 0));
  for (const [i, number] of numbers.entries()) {
    if (number > 0) await link.commands.set(`${channels[i]}:seq`, number);
  }
  const before = await evaluated();
  expect(await readAll()).toEqual(numbers);
  expect(await evaluated()).toEqual(before.map((calls) => calls + 1));
});

test('a counter whose slot has just moved is unknown, and the others are read', async () => {
  const channel = channels[13]!;
  const home = link.subscriber.masterOf(channel)!;
  // As while the slot map is out of date.
  const masterOf = (each: string) =>
    each === channel ? otherMaster(home) : link.subscriber.masterOf(each);
  const counters = await readShardCounters({ ...link, subscriber: { masterOf } }, channels);
  expect(counters.flatMap((counter, i) => (counter === undefined ? [i] : []))).toEqual([13]);
});

test('a master that only forbids subscriptions is not down: another one carries the replies', async () => {
  const master = link.subscriber.masters()[0]!;
  const channel = channels.find((each) => link.subscriber.masterOf(each) === master)!;
  await cluster.call(master, 'ACL', 'SETUSER', 'default', '-ssubscribe');
  await cluster.call(master, 'CLIENT', 'KILL', 'TYPE', 'pubsub');
  // Five probes are lost.
  await eventually(() => {
    expect(privateChannels.notDeliveringReasons()[0]).toMatch(/ ([5-9]|\d\d)\.\d s ago$/);
  });
  expect(privateChannels.notDelivering()).toEqual([master]);
  expect(privateChannels.downReason(channel)).toBeUndefined();
  expect(link.subscriber.masterOf(privateChannels.replyChannelFor(channel)!)).not.toBe(master);
  expect((await link.publish(channel, Buffer.from('x'))).type).toBe('published');
  await cluster.call(master, 'ACL', 'SETUSER', 'default', '+ssubscribe');
  await allConfirmed();
});

test('a channel whose slot moves away and back is lost and confirmed twice', async () => {
  const channel = channels[7]!;
  const home = link.subscriber.masterOf(channel)!;
  const other = otherMaster(home);
  for (const to of [other, home]) {
    const losses = handler.losses;
    await cluster.migrateSlot(keySlot(channel), to);
    await eventually(() => handler.losses > losses);
    await allConfirmed();
    await eventually(() => link.subscriber.masterOf(channel) === to);
    expect(handler.losses).toBe(losses + 1);
    await expectEveryPublishToArrive();
  }
});

test('detects a slot that moves away and back at once', async () => {
  const channel = channels[11]!;
  const home = link.subscriber.masterOf(channel)!;
  const losses = handler.losses;
  await cluster.migrateSlot(keySlot(channel), otherMaster(home));
  await cluster.migrateSlot(keySlot(channel), home);
  await eventually(() => handler.losses > losses);
  await allConfirmed();
  await expectEveryPublishToArrive();
});

test('subscriptions move to the replica of a killed master', async () => {
  const killed = link.subscriber.masters()[0]!;
  const orphans = channels.filter((channel) => link.subscriber.masterOf(channel) === killed);
  const cpuBefore = process.cpuUsage();
  const killedAtMs = performance.now();
  await cluster.killNode(killed);
  await eventually(() => orphans.every((channel) => handler.lost.has(channel)));
  expect((await link.publish(orphans[0]!, Buffer.from('x'))).type).not.toBe('published');
  await allConfirmed();
  const { user, system } = process.cpuUsage(cpuBefore);
  // ioredis' own sharded subscribers spin here and use a whole core.
  expect((user + system) / 1000).toBeLessThan((performance.now() - killedAtMs) / 2);
  expect(link.subscriber.masters()).not.toContain(killed);
  await expectEveryPublishToArrive();

  // It restarts as a replica of its replica, and nothing changes.
  const losses = handler.losses;
  await cluster.restartNode(killed);
  await eventually(async () => String(await cluster.call(killed, 'ROLE')).startsWith('slave'));
  await expectEveryPublishToArrive();
  expect(handler.losses).toBe(losses);
});

test('subscriptions move to the replica after a manual failover', async () => {
  const demoted = link.subscriber.masters()[1]!;
  const moved = channels.filter((channel) => link.subscriber.masterOf(channel) === demoted);
  const replica = await cluster.replicaOf(demoted);
  const losses = handler.losses;
  await cluster.call(replica, 'CLUSTER', 'FAILOVER');
  await eventually(() => moved.every((c) => link.subscriber.masterOf(c) === replica));
  // Until then channels are still confirmed on the former master, and messages may be missed.
  await eventually(() => handler.losses >= losses + moved.length);
  await allConfirmed();
  await expectEveryPublishToArrive();
});

/** The last test: the servers announce other addresses afterwards. */
test('reaches servers at the addresses of the NAT map, also after a redirection', async () => {
  const addresses = cluster.urls.map((url) => new URL(url).host);
  const natMap: Record<string, { host: string; port: number }> = {};
  for (const address of addresses) {
    const announced = await freePort();
    await cluster.call(address, 'CONFIG', 'SET', 'cluster-announce-port', `${announced}`);
    natMap[`127.0.0.1:${announced}`] = { host: 'localhost', port: Number(address.split(':')[1]) };
  }
  type Slots = [first: number, last: number, master: [host: string, port: number, id: string]][];
  const slotsAt = async (address: string) =>
    (await cluster.call(address, 'CLUSTER', 'SLOTS')) as Slots;
  await eventually(async () => {
    for (const address of addresses) {
      for (const [, , [, port]] of await slotsAt(address))
        expect(natMap).toHaveProperty([`127.0.0.1:${port}`]);
    }
  });
  const urls = cluster.urls.slice(0, 2);
  const opened = await openRedis({ urls, natMap, name: 'behind-nat', log, metrics: new Metrics() });
  const all = new RecordingSubscriber();
  try {
    const dialled = opened.subscriber.masters();
    expect(dialled.filter((address) => !address.startsWith('localhost:'))).toEqual([]);
    for (const channel of channels) opened.subscriber.subscribe(channel, all);
    await eventually(() => all.confirmed.size === channels.length);
    await Promise.all(
      channels.map((channel) =>
        eventually(
          async () => (await opened.publish(channel, Buffer.from('x'))).type === 'published',
        ),
      ),
    );
    await eventually(() => expect(all.messages.size).toBe(channels.length));

    // The pipelined connections and ioredis learn of the move from a redirection.
    const slot = keySlot(channels[7]!);
    const [to, from] = [...(await slotsAt(addresses[0]!))].sort(([first], [, last]) => {
      return Number(first <= slot && slot <= last);
    });
    const real = (port: number) => `127.0.0.1:${natMap[`127.0.0.1:${port}`]!.port}`;
    for (const [, , [, port]] of [to!, from!]) {
      await cluster.call(real(port), 'CLUSTER', 'SETSLOT', `${slot}`, 'NODE', to![2][2]);
    }
    expect(await opened.execute('get', [`${channels[7]}:seq`])).toMatchObject({ type: 'done' });
    await eventually(
      () =>
        opened.subscriber.masterOf(channels[7]!) === `localhost:${real(to![2][1]).split(':')[1]}`,
    );
    await eventually(async () => {
      all.messages.clear();
      await opened.publish(channels[7]!, Buffer.from('moved'));
      await eventually(() => all.messages.has(channels[7]!), 500);
    });
  } finally {
    await opened.close();
  }
});

import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { agreeOnSettings, restoreSettings } from '../../../common/cluster/cluster-settings.js';
import { RoutersChannels } from '../../../common/cluster/presence/routers-channels.js';
import { PrivateChannels } from '../../../common/cluster/private-channels.js';
import { shardTags } from '../../../common/cluster/shard.js';
import { EnvironmentError } from '../../../common/process/lifecycle.js';
import { Metrics } from '../../../common/process/metrics.js';
import { openRedis, type RedisLink } from '../../../common/redis/redis-link.js';
import { PrivateEnvelope } from '../../../proto/gen/longline/v1/envelope.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { eventually } from '../../support/eventually.js';
import { RecordingSubscriber } from '../../support/recording-subscriber.js';

const log = pino({ level: 'silent' });
const channels = shardTags(4096).map((tag) => `ll:{${tag}}`);
const closing: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start(args: string[] = []): Promise<TestRedis> {
  const redis = await startRedis(args);
  closing.push(() => redis.stop());
  return redis;
}

async function open(url: string): Promise<RedisLink> {
  const link = await openRedis({ urls: [url], name: 'test', log, metrics: new Metrics() });
  closing.push(() => link.close());
  return link;
}

async function publishToAll(link: RedisLink, handler: RecordingSubscriber): Promise<void> {
  handler.messages.clear();
  const payload = Buffer.from([0, 255, 1]);
  const results = await Promise.all(channels.map((channel) => link.publish(channel, payload)));
  expect(new Set(results.map(({ type }) => type))).toEqual(new Set(['published']));
  await eventually(() => handler.messages.size === channels.length);
  for (const messages of handler.messages.values()) expect(messages).toEqual([payload]);
}

describe('a standalone Redis', () => {
  test('keeps 4096 subscriptions, also after their connection was killed', async () => {
    const redis = await start();
    const link = await open(redis.url);
    expect(link.isCluster).toBe(false);
    expect(link.subscriber.masters()).toEqual([`127.0.0.1:${redis.port}`]);
    const handler = new RecordingSubscriber();
    for (const channel of channels) link.subscriber.subscribe(channel, handler);
    await eventually(() => link.subscriber.confirmedCount === channels.length);
    await publishToAll(link, handler);

    expect(await link.commands.call('CLIENT', 'KILL', 'TYPE', 'pubsub')).toBe(1);
    await eventually(() => handler.lost.size === channels.length);
    await eventually(() => handler.confirmed.size === channels.length && handler.lost.size === 0);
    await publishToAll(link, handler);
  });

  test('is reconnected to after it was killed and restarted', async () => {
    const redis = await start();
    const link = await open(redis.url);
    const handler = new RecordingSubscriber();
    for (const channel of channels) link.subscriber.subscribe(channel, handler);
    await eventually(() => handler.confirmed.size === channels.length);
    await redis.kill('SIGKILL');
    await eventually(() => handler.lost.size === channels.length);
    expect(link.subscriber.confirmedCount).toBe(0);
    await redis.restart();
    await eventually(() => handler.confirmed.size === channels.length);
    await eventually(() => link.isUp());
    await publishToAll(link, handler);
  });

  test('the last of several calls within a turn wins', async () => {
    const redis = await start();
    const link = await open(redis.url);
    const { subscriber } = link;
    const [a, b, c] = channels as [string, string, string];
    const handler = new RecordingSubscriber();
    subscriber.subscribe(a, handler);
    subscriber.unsubscribe(a);
    subscriber.subscribe(a, handler);
    subscriber.subscribe(a, handler);
    subscriber.subscribe(b, handler);
    subscriber.unsubscribe(b);
    subscriber.subscribe(c, handler);
    await eventually(() => handler.confirmed.has(a) && handler.confirmed.has(c));
    expect(subscriber.confirmedCount).toBe(2);

    const second = new RecordingSubscriber();
    subscriber.unsubscribe(a);
    subscriber.subscribe(a, second);
    subscriber.unsubscribe(c);
    await eventually(() => second.confirmed.has(a));
    expect(handler.lost.size).toBe(0);
    const listed = await link.commands.pubsub('SHARDCHANNELS');
    expect(listed).toEqual([a]);
    await link.publish(a, Buffer.from('x'));
    await eventually(() => second.messages.size === 1);
    expect(handler.messages.size).toBe(0);
  });

  test('the last call wins while replies are in flight', async () => {
    const redis = await start();
    const link = await open(redis.url);
    const { subscriber } = link;
    const channel = channels[0]!;
    let handler = new RecordingSubscriber();
    for (let round = 0; round < 200; round++) {
      handler = new RecordingSubscriber();
      subscriber.subscribe(channel, handler);
      await new Promise((resolve) => setImmediate(resolve));
      if (round % 3 === 0) await link.commands.ping();
      if (round < 199) subscriber.unsubscribe(channel);
    }
    await eventually(() => handler.confirmed.has(channel));
    await link.commands.ping();
    expect(subscriber.isConfirmed(channel)).toBe(true);
    expect(await link.commands.pubsub('SHARDNUMSUB', channel)).toEqual([channel, 1]);
    expect(handler.lost.size).toBe(0);
  });

  test('a publish is rejected while Redis is down, and unknown when Redis stalls', async () => {
    const redis = await start();
    const link = await open(redis.url);
    const channel = channels[0]!;
    expect(await link.publish(channel, Buffer.from('x'))).toEqual({
      type: 'published',
      receivers: 0,
    });

    await redis.kill('SIGSTOP');
    const stalled = await link.publish(channel, Buffer.from('x'));
    expect(stalled).toEqual({ type: 'unknown', reason: 'Command timed out' });
    const cut = link.publish(channel, Buffer.from('x'));
    await redis.kill('SIGKILL');
    expect((await cut).type).toBe('unknown');

    const inNextTurn = nextTurn({ type: 'late' });
    const rejected = link.publish(channel, Buffer.from('x'));
    expect((await Promise.race([rejected, inNextTurn])).type).toBe('rejected');
  });

  test('a link that was closed opens no connection', async () => {
    const redis = await start();
    const link = await openRedis({ urls: [redis.url], name: 'test', log, metrics: new Metrics() });
    await link.close();
    expect(await link.execute('get', ['key'])).toMatchObject({ type: 'rejected' });
    const direct = new Redis(redis.port, '127.0.0.1');
    closing.push(() => direct.disconnect());
    // Its own.
    expect(
      String(await direct.client('LIST'))
        .trim()
        .split('\n'),
    ).toHaveLength(1);
  });

  test('a command is rejected when Redis is out of memory', async () => {
    const redis = await start();
    const link = await open(redis.url);
    await link.commands.config('SET', 'maxmemory', '1');
    expect(await link.execute('set', ['k', 'v'])).toMatchObject({
      type: 'rejected',
      reason: expect.stringMatching(/^OOM /),
    });
    expect(await link.execute('eval', ["return redis.call('set', 'k', 'v')", 0])).toMatchObject({
      type: 'rejected',
    });
  });

  test('is not delivering while probes do not return, and recovers', async () => {
    const redis = await start();
    const link = await open(redis.url);
    const privateChannels = new PrivateChannels(link, 4096, 'p1', log, new Metrics());
    closing.push(() => privateChannels.close());
    const address = `127.0.0.1:${redis.port}`;
    expect(privateChannels.notDeliveringReasons()).toEqual([
      `no probe has returned through Redis ${address} yet`,
    ]);
    expect(privateChannels.replyChannelFor('ll:{0}')).toBeUndefined();
    await eventually(() => privateChannels.notDeliveringReasons().length === 0);
    expect(privateChannels.replyChannelFor('ll:{0}')).toMatch(/^lr:\{\d+\}:p1$/);

    const onReplies = jest.fn();
    privateChannels.onReplies = onReplies;
    const batch = { edgeId: 'edge-1', replies: [] };
    const envelope = { body: { $case: 'replies' as const, value: batch } };
    const bytes = Buffer.from(PrivateEnvelope.encode(envelope).finish());
    await link.publish(privateChannels.replyChannelFor('ll:{0}')!, Buffer.from([0xff]));
    await link.publish(privateChannels.replyChannelFor('ll:{0}')!, bytes);
    await eventually(() => expect(onReplies).toHaveBeenCalledWith(batch));

    expect(privateChannels.downReason('ll:{0}')).toBeUndefined();
    expect(privateChannels.readiness('publishing')).toEqual({ notReady: [], degraded: [] });
    await redis.kill('SIGSTOP');
    await eventually(() => {
      const [reason] = privateChannels.notDeliveringReasons();
      expect(reason).toMatch(new RegExp(`returned through Redis ${address} ([3-9]|\\d\\d)\\.`));
    });
    // Nothing is sent any more, so no caller waits for a command.
    await eventually(() => expect(privateChannels.downReason('ll:{0}')).toMatch(address));
    expect(privateChannels.readiness('publishing').notReady).toHaveLength(1);
    await redis.kill('SIGCONT');
    await eventually(() => privateChannels.notDeliveringReasons().length === 0);
    expect(privateChannels.downReason('ll:{0}')).toBeUndefined();
  });

  test('is proven at once, and not after the interval of probes', async () => {
    const redis = await start();
    const link = await open(redis.url);
    // A busy machine may delay one proof; what waits for the interval is late each time.
    await eventually(async () => {
      const privateChannels = new PrivateChannels(link, 4096, 'p1', log, new Metrics());
      try {
        await eventually(() => privateChannels.notDeliveringReasons().length === 0, 900);
      } finally {
        privateChannels.close();
      }
    });
  });

  test('has no subscription of a router that has stopped', async () => {
    const redis = await start();
    const link = await open(redis.url);
    const stop = new RoutersChannels(link, 4096).subscribe(() => {});
    const listed = () => link.commands.pubsub('SHARDCHANNELS');
    await eventually(async () => expect(await listed()).toHaveLength(1));
    stop();
    await eventually(async () => expect(await listed()).toEqual([]));
  });

  test('is not down while it publishes probes that a lost subscription does not return', async () => {
    const redis = await start();
    const link = await open(redis.url);
    const privateChannels = new PrivateChannels(link, 4096, 'p1', log, new Metrics());
    closing.push(() => privateChannels.close());
    await eventually(() => privateChannels.notDeliveringReasons().length === 0);
    await link.commands.call('ACL', 'SETUSER', 'default', '-ssubscribe');
    await link.commands.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    // Six probes are lost.
    await eventually(() => {
      expect(privateChannels.notDeliveringReasons()[0]).toMatch(/ ([6-9]|\d\d)\.\d s ago$/);
    });
    expect(privateChannels.downReason('ll:{0}')).toBeUndefined();
    const [reason] = privateChannels.notDeliveringReasons();
    expect(privateChannels.readiness('publishing')).toEqual({ notReady: [], degraded: [reason] });
    expect(privateChannels.readiness('delivery')).toEqual({ notReady: [reason], degraded: [] });
    await link.commands.call('ACL', 'SETUSER', 'default', '+ssubscribe');
    await eventually(() => privateChannels.notDeliveringReasons().length === 0);
  });

  test('rejects a shard count other than the one the cluster was started with', async () => {
    const redis = await start();
    const link = await open(redis.url);
    await Promise.all([
      agreeOnSettings(link, { shardCount: 4096, clusterName: undefined }),
      agreeOnSettings(link, { shardCount: 4096, clusterName: undefined }),
    ]);
    const disagreeing = agreeOnSettings(link, { shardCount: 1024, clusterName: undefined });
    await expect(disagreeing).rejects.toThrow(EnvironmentError);
    await expect(disagreeing).rejects.toThrow(/1024.*4096/);
    await redis.kill('SIGKILL');
    const waiting = agreeOnSettings(link, { shardCount: 1024, clusterName: undefined });
    await redis.restart();
    await waiting;
  });

  test('rejects another cluster, which has another name or none', async () => {
    const redis = await start();
    const link = await open(redis.url);
    const agree = (clusterName?: string) =>
      agreeOnSettings(link, { shardCount: 4096, clusterName });
    await agree();
    // The cluster gets its name while processes without one still run.
    await agree('production');
    await agree('production');
    await expect(agree('staging')).rejects.toThrow(
      /LONGLINE_CLUSTER_NAME is "staging".*the cluster "production" under ll:settings/,
    );
    await expect(agree()).rejects.toThrow('LONGLINE_CLUSTER_NAME is not set');
    await expect(agree('staging')).rejects.toThrow(EnvironmentError);
    // A rejected process leaves nothing behind, not even if the settings were lost meanwhile.
    expect(await link.commands.hgetall('ll:settings')).toEqual({
      shardCount: '4096',
      clusterName: 'production',
    });
    await link.commands.del('ll:settings');
    await restoreSettings(link, { shardCount: 4096, clusterName: 'production' });
    await expect(agree('staging')).rejects.toThrow('production');
  });

  test('does not name a cluster whose shard count differs', async () => {
    const redis = await start();
    const link = await open(redis.url);
    await agreeOnSettings(link, { shardCount: 4096, clusterName: undefined });
    const disagreeing = agreeOnSettings(link, { shardCount: 1024, clusterName: 'staging' });
    await expect(disagreeing).rejects.toThrow('LONGLINE_SHARD_COUNT is 1024');
    expect(await link.commands.hgetall('ll:settings')).toEqual({ shardCount: '4096' });
  });
});

describe('opening', () => {
  const openAt = (...urls: string[]) =>
    openRedis({ urls, name: 'test', log, metrics: new Metrics() });

  test('waits for a Redis that is not started yet', async () => {
    const redis = await start();
    await redis.kill('SIGKILL');
    const opening = openAt(redis.url);
    await redis.restart();
    await (await opening).close();
  });

  test('reports a wrong password, a missing password and a missing permission', async () => {
    const redis = await start(['--requirepass', 'right']);
    const at = `127.0.0.1:${redis.port}`;
    await expect(openAt(`redis://:wrong@${at}`)).rejects.toThrow(
      new EnvironmentError(
        `Redis at ${at} rejects us: WRONGPASS invalid username-password pair or user is disabled.`,
      ),
    );
    await expect(openAt(redis.url)).rejects.toThrow(/rejects us: NOAUTH/);

    const admin = new Redis(redis.port, '127.0.0.1', { password: 'right' });
    const limit = (...rules: string[]) =>
      admin.acl('SETUSER', 'u', 'reset', 'on', '>p', '+@all', ...rules);
    await limit('~ll:*');
    await expect(openAt(`redis://u:p@${at}`)).rejects.toThrow(/rejects us: NOPERM .*channel/);
    await limit('&ll:*', '&lr:*');
    await expect(openAt(`redis://u:p@${at}`)).rejects.toThrow(/rejects us: NOPERM .*key/);
    await limit('~ll:*', '&ll:*', '&lr:*', '-info');
    await expect(openAt(`redis://u:p@${at}`)).rejects.toThrow(/rejects us: NOPERM .*info/);
    await limit('~ll:*', '&ll:*', '&lr:*');
    await (await openAt(`redis://u:p@${at}`)).close();
    admin.disconnect();
  });

  test('rejects several seeds that are not a cluster', async () => {
    const redis = await start();
    await expect(openAt(redis.url, redis.url)).rejects.toThrow(/not in cluster mode/);
  });

  test('keeps the password out of the log', async () => {
    const redis = await start(['--requirepass', 'first']);
    const lines: string[] = [];
    const listening = pino({ level: 'debug' }, { write: (line) => void lines.push(line) });
    const link = await openRedis({
      urls: [`redis://:first@127.0.0.1:${redis.port}`],
      name: 'test',
      log: listening,
      metrics: new Metrics(),
    });
    closing.push(() => link.close());
    await link.commands.config('SET', 'requirepass', 'second');
    await link.commands.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await eventually(() => lines.some((line) => line.includes('WRONGPASS')));
    await redis.kill('SIGKILL');
    expect(lines.join('')).not.toContain('first');
    const reasons = lines.flatMap((line) => JSON.parse(line).redis + JSON.parse(line).reason);
    expect(new Set(reasons).size).toBe(reasons.length);
    // Closing a link to a dead server leaves a timer of ioredis, which delays the end of this
    // process.
    await redis.restart();
    const handler = new RecordingSubscriber();
    link.subscriber.subscribe('ll:{0}', handler);
    await eventually(() => handler.confirmed.has('ll:{0}'));
  });
});

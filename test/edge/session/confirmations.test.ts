import { expect, test } from '@jest/globals';
import { Metrics } from '../../../common/process/metrics.js';
import type { Outcome } from '../../../common/redis/execute.js';
import { IdFloor } from '../../../common/redis/identity/id-floor.js';
import { ConfirmedPushes } from '../../../edge/report/confirmed-pushes.js';
import { Confirmations } from '../../../edge/session/confirmations.js';

/** A Redis that records confirmations while it is reachable. */
function inboxes(isCluster = false) {
  const confirmed: string[] = [];
  const scripts: number[] = [];
  const counted = new ConfirmedPushes(16, (_, redisMs, nowMs) => nowMs - redisMs, new Metrics());
  const redis = { isReachable: true };
  const link = {
    isCluster,
    idFloor: new IdFloor(),
    async execute<Reply>(_: string, args: readonly unknown[]) {
      if (!redis.isReachable) return { type: 'rejected', reason: 'unreachable' } as Outcome<Reply>;
      const keys = Number(args[1]);
      const texts = args.slice(2 + keys);
      // An id and single ids for each client.
      for (let i = 0; i < keys; i += 2) {
        confirmed.push(
          texts
            .slice(i, i + 2)
            .join(' ')
            .trimEnd(),
        );
      }
      scripts.push(keys / 2);
      return {
        type: 'done',
        reply: Array(keys / 2)
          .fill('1')
          .join('\n'),
      } as Outcome<Reply>;
    },
  };
  return {
    counted,
    confirmed,
    scripts,
    redis,
    confirmations: new Confirmations(link, undefined, counted, 16, new Metrics()),
  };
}

test('sends only the newest of several confirmations of a client', async () => {
  const { confirmed, confirmations } = inboxes();
  for (const id of ['5-0', '7-1', '7-0', '6-9']) confirmations.add('7', 'alice', id);
  confirmations.add('7', 'bob', '1-0');
  await confirmations.flush();
  expect(confirmed.sort()).toEqual(['1-0', '7-1']);
  await confirmations.flush();
  expect(confirmed).toHaveLength(2);
});

test('sends what Redis did not accept again, unless a newer one has arrived', async () => {
  const { confirmed, redis, confirmations } = inboxes();
  redis.isReachable = false;
  confirmations.add('7', 'alice', '5-0');
  confirmations.add('7', 'bob', '1-0');
  await confirmations.flush();
  confirmations.add('7', 'alice', '6-0');
  redis.isReachable = true;
  await confirmations.flush();
  expect(confirmed.sort()).toEqual(['1-0', '6-0']);
});

test('sends pushes that are confirmed alone together with what is confirmed up to an id', async () => {
  const { confirmed, redis, confirmations } = inboxes();
  for (const id of ['3-0', '5-0', '3-0']) confirmations.addSingle('7', 'alice', id);
  await confirmations.flush();
  expect(confirmed.splice(0)).toEqual([' 3-0 5-0']);
  redis.isReachable = false;
  for (const id of ['3-0', '4-0', '6-0']) confirmations.addSingle('7', 'alice', id);
  confirmations.add('7', 'alice', '4-0');
  confirmations.addSingle('7', 'alice', '2-0');
  await confirmations.flush();
  redis.isReachable = true;
  await confirmations.flush();
  expect(confirmed).toEqual(['4-0 6-0']);
});

test('bounds the pushes of a client that are confirmed alone', async () => {
  const { confirmed, confirmations } = inboxes();
  for (let i = 0; i < 1_001; i++) confirmations.addSingle('7', 'alice', `${i}-0`);
  await confirmations.flush();
  expect(confirmed[0]?.trim().split(' ')).toHaveLength(1_000);
});

test('sends the confirmation of one client at once', async () => {
  const { confirmed, confirmations } = inboxes();
  confirmations.add('7', 'alice', '5-0');
  confirmations.add('7', 'bob', '1-0');
  confirmations.flushClient('alice');
  confirmations.flushClient('carol');
  expect(confirmed).toEqual(['5-0']);
  await confirmations.flush();
  expect(confirmed).toEqual(['5-0', '1-0']);
});

test('confirms for 32 clients with one script, in a Redis Cluster for those of one shard', async () => {
  const standalone = inboxes();
  for (let i = 0; i < 70; i++) standalone.confirmations.add(`${i}`, `client-${i}`, '5-0');
  await standalone.confirmations.flush();
  expect(standalone.scripts).toEqual([32, 32, 6]);
  const cluster = inboxes(true);
  for (let i = 0; i < 5; i++) cluster.confirmations.add(`${i % 2}`, `client-${i}`, `${i}-0`);
  await cluster.confirmations.flush();
  expect(cluster.scripts).toEqual([3, 2]);
  expect(cluster.confirmed).toEqual(['0-0', '2-0', '4-0', '1-0', '3-0']);
});

import { expect, test } from '@jest/globals';
import { Metrics } from '../../../common/process/metrics.js';
import type { Outcome } from '../../../common/redis/execute.js';
import { Confirmations } from '../../../edge/session/confirmations.js';

/** A Redis that records confirmations while it is reachable. */
function inboxes() {
  const confirmed: string[] = [];
  const redis = { isReachable: true };
  const link = {
    async execute<Reply>(_: string, args: readonly unknown[]) {
      if (!redis.isReachable) return { type: 'rejected', reason: 'unreachable' } as Outcome<Reply>;
      // After the script, two keys and their number.
      confirmed.push(args.slice(4).join(' '));
      return { type: 'done', reply: 1 } as Outcome<Reply>;
    },
  };
  return { confirmed, redis, confirmations: new Confirmations(link, new Metrics()) };
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

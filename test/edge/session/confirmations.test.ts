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
      confirmed.push(String(args.at(-1)));
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

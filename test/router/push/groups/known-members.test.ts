import { expect, test } from '@jest/globals';
import { Metrics } from '../../../../common/process/metrics.js';
import { KnownMembers } from '../../../../router/push/groups/known-members.js';

const shardOf = (clients: number) => ({
  clientIds: Array.from({ length: clients }, (_, i) => `c${i}`),
  tooMany: [],
  members: clients,
  version: '1',
  validUntilMs: Number.POSITIVE_INFINITY,
});

async function count(metrics: Metrics): Promise<number> {
  const text = await metrics.registry.getSingleMetricAsString(
    'longline_router_group_clients_known',
  );
  return Number(/^longline_router_group_clients_known (\d+)$/m.exec(text)![1]);
}

test('groups that were used longest ago are forgotten, and what does not fit is not kept', async () => {
  const metrics = new Metrics();
  const known = new KnownMembers(metrics, 10);
  known.set('a', 1, shardOf(2));
  known.set('a', 2, shardOf(1));
  known.set('b', 1, shardOf(2));
  expect(await count(metrics)).toBe(8);
  expect(known.of('a').get(1)?.clientIds).toEqual(['c0', 'c1']);
  known.set('c', 1, shardOf(3));
  expect(known.of('b').size).toBe(0);
  expect([...known.of('a').keys()]).toEqual([1, 2]);
  expect(await count(metrics)).toBe(9);
  known.set('a', 1, shardOf(4));
  expect(known.of('c').size).toBe(0);
  known.set('a', 3, shardOf(9));
  expect([...known.of('a').keys()]).toEqual([2, 1]);
  expect(await count(metrics)).toBe(7);
});

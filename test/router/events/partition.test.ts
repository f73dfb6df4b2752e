/** A partition of events as a consumer reads it: order, acknowledgements and losses. Pure. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { StoredEvent } from '../../../common/cluster/events/event-reads.js';
import { parseFilter } from '../../../router/events/event-filter.js';
import { type DeliveredEvent, Partition, shardOfEvent } from '../../../router/events/partition.js';

const ALL = () => true;
const KEEP_MS = 1_000;
const SHARD = 3;

const stored = (ms: number, clientId = 'alice', type = 'push.confirmed'): StoredEvent => ({
  id: `${ms}-0`,
  fields: new Map([
    ['t', type],
    ['c', clientId],
  ]),
});

const idsOf = (events: readonly DeliveredEvent[]) => events.map(({ id }) => id);

/** Takes events of a shard that has lost none. */
function take(partition: Partition, from: number, count: number): DeliveredEvent[] {
  const before = partition.after(SHARD) ?? { id: `${from - 1}-0`, number: from - 1 };
  const events = Array.from({ length: count }, (_, i) => stored(from + i));
  return partition.take(SHARD, { index: 0, before, number: from, newestId: '', events }, 0);
}

test('a group moves forward over acknowledged events without a gap, in any order', () => {
  const orders = fc
    .integer({ min: 1, max: 12 })
    .chain((count) => fc.shuffledSubarray(Array.from({ length: count }, (_, i) => i + 1)));
  fc.assert(
    fc.property(orders, fc.integer({ min: 1, max: 12 }), (acked, count) => {
      const partition = new Partition([SHARD], ALL, KEEP_MS);
      expect(take(partition, 1, count)).toHaveLength(count);
      for (const ms of acked) partition.ack(SHARD, `${SHARD}-${ms}-0`);
      let prefix = 0;
      while (acked.includes(prefix + 1) && prefix < count) prefix++;
      const expected =
        prefix === 0 ? [] : [{ shard: SHARD, position: { id: `${prefix}-0`, number: prefix } }];
      expect(partition.takeAcked()).toEqual(expected);
      expect(partition.takeAcked()).toEqual([]);
      expect(partition.unacked).toBe(count - acked.filter((ms) => ms <= count).length);
    }),
  );
});

test('lost events are told once, at their place, with their number', () => {
  const partition = new Partition([SHARD], ALL, KEEP_MS);
  const before = { id: '5-0', number: 5 };
  const read = { index: 0, before, number: 9, newestId: '30-0', events: [stored(20), stored(30)] };
  const taken = partition.take(SHARD, read, 0);
  expect(taken.map(({ type, lost, atMs }) => [type, lost, atMs])).toEqual([
    ['events_lost', 3, 19],
    ['push.confirmed', 0, 20],
    ['push.confirmed', 0, 30],
  ]);
  partition.ack(SHARD, taken[0]!.id);
  const position = { id: '19-18446744073709551615', number: 8 };
  expect(partition.takeAcked()).toEqual([{ shard: SHARD, position }]);
  expect(partition.after(SHARD)).toEqual({ id: '30-0', number: 10 });
});

test('if all unread events are gone, the loss is told without another event', () => {
  const partition = new Partition([SHARD], ALL, KEEP_MS);
  const before = { id: '5-0', number: 5 };
  const taken = partition.take(
    SHARD,
    { index: 0, before, number: 8, newestId: '7-3', events: [] },
    0,
  );
  expect(taken.map(({ type, lost }) => [type, lost])).toEqual([['events_lost', 2]]);
  expect(partition.after(SHARD)).toEqual({ id: '7-3', number: 7 });
});

test('a stream that has begun anew is a loss, unless it had expired', () => {
  const partition = new Partition([SHARD], ALL, KEEP_MS);
  const before = { id: '50-0', number: 50 };
  const typesAt = (ms: number) => {
    const read = { index: 0, before, number: 1, newestId: `${ms}-0`, events: [stored(ms)] };
    return partition.take(SHARD, read, 0).map(({ type, lost }) => `${type} ${lost}`);
  };
  expect(typesAt(60)).toEqual(['events_lost 0', 'push.confirmed 0']);
  expect(typesAt(50 + KEEP_MS)).toEqual(['push.confirmed 0']);
});

test('events that are not selected count as acknowledged', () => {
  const partition = new Partition([SHARD], ({ atMs }) => atMs === 2, KEEP_MS);
  expect(idsOf(take(partition, 1, 3))).toEqual([`${SHARD}-2-0`]);
  expect(partition.takeAcked()).toEqual([{ shard: SHARD, position: { id: '1-0', number: 1 } }]);
  expect(partition.ack(SHARD, `${SHARD}-2-0`)).toBe(true);
  expect(partition.ack(SHARD, `${SHARD}-2-0`)).toBe(false);
  expect(partition.takeAcked()).toEqual([{ shard: SHARD, position: { id: '3-0', number: 3 } }]);
});

test('the oldest event that waits is known, also behind ones that are acknowledged', () => {
  const partition = new Partition([SHARD], ALL, KEEP_MS);
  expect(partition.oldestAtMs).toBe(Number.POSITIVE_INFINITY);
  const events = [stored(1), stored(2)];
  const before = { id: '0-0', number: 0 };
  partition.take(SHARD, { index: 0, before, number: 1, newestId: '', events }, 700);
  partition.ack(SHARD, `${SHARD}-2-0`);
  expect(partition.oldestAtMs).toBe(700);
});

test.each(['', 'x', '1', '1-2', '1-2-3-4', '-1-2-3', '123456-1-1'])('%j is no id', (text) => {
  expect(shardOfEvent(text)).toBeUndefined();
});

test('a filter selects by type, prefix and labels', () => {
  const event = (changes: Partial<DeliveredEvent>, labels = ''): DeliveredEvent => ({
    id: '1-1-0',
    type: 'client.connected',
    clientId: 'alice/phone',
    atMs: 1,
    fields: new Map([['l', labels]]),
    lost: 0,
    ...changes,
  });
  const filterOf = (changes: object) => {
    const filter = parseFilter({ types: [], clientIdPrefix: '', selector: '', ...changes });
    if ('code' in filter) throw new Error(filter.message);
    return filter;
  };
  expect(filterOf({})(event({}))).toBe(true);
  expect(filterOf({ types: ['push.unread'] })(event({}))).toBe(false);
  expect(filterOf({ clientIdPrefix: 'alice/' })(event({}))).toBe(true);
  expect(filterOf({ clientIdPrefix: 'bob/' })(event({}))).toBe(false);
  expect(filterOf({ selector: 'app=ios' })(event({}, 'app=ios,beta='))).toBe(true);
  expect(filterOf({ selector: 'app=ios' })(event({}))).toBe(false);
  expect(filterOf({ selector: '!beta' })(event({}, 'app=ios,beta='))).toBe(false);
  expect(parseFilter({ types: [], clientIdPrefix: '', selector: 'a=(' })).toMatchObject({
    code: 'SELECTOR_INVALID',
  });
});

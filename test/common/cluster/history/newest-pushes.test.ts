import { beforeEach, expect, test } from '@jest/globals';
import {
  NewestPushes,
  type NewestPushesOptions,
} from '../../../../common/cluster/history/newest-pushes.js';

/** Ids that Redis knows; undefined while it does not answer. */
let known: Set<string> | undefined;
let checked: string[];
let lost: string[];
let newest: NewestPushes;

beforeEach(() => {
  known = new Set();
  checked = [];
  lost = [];
  const link: Partial<NewestPushesOptions['link']> = {
    isCluster: false,
    subscriber: { masterOf: () => 'redis' },
    executeOn: (async (_master: string, _command: string, args: readonly string[]) => {
      if (known === undefined) return { type: 'unknown', reason: 'Redis is away' };
      const ids = args.slice(3).filter((_, i) => i % 3 === 2);
      checked.push(...ids);
      return { type: 'done', reply: ids.map((id) => (known!.has(id) ? 1 : 0)) };
    }) as never,
  };
  newest = new NewestPushes({
    link: link as NewestPushesOptions['link'],
    onLost: ({ channel, id }) => lost.push(`${channel} ${id}`),
  });
});

test('asks for the newest push of a shard, and once', async () => {
  newest.onPush('ll:{1}', 'alice', '1-0');
  newest.onPush('ll:{1}', 'bob', '2-0');
  newest.doubt('ll:{1}');
  newest.doubt('ll:{2}');
  known!.add('2-0');
  for (let i = 0; i < 3; i++) await newest.step();
  expect(checked).toEqual(['2-0']);
  expect(lost).toEqual([]);
});

test('a push that arrives after the doubt does not hide the loss of an earlier one', async () => {
  newest.onPush('ll:{1}', 'alice', '1-0');
  newest.doubt('ll:{1}');
  newest.onPush('ll:{1}', 'alice', '2-0');
  known!.add('2-0');
  await newest.step();
  expect(lost).toEqual(['ll:{1} 1-0']);
  // Told once.
  newest.doubt('ll:{1}');
  await newest.step();
  expect(lost).toHaveLength(1);
});

test('asks again while Redis does not answer', async () => {
  newest.onPush('ll:{1}', 'alice', '1-0');
  newest.doubt('ll:{1}');
  known = undefined;
  await newest.step();
  known = new Set();
  newest.doubt('ll:{1}');
  await newest.step();
  expect(lost).toEqual(['ll:{1} 1-0']);
});

test('says nothing about a loss that was noticed otherwise, also during the check', async () => {
  newest.onPush('ll:{1}', 'alice', '1-0');
  newest.doubt('ll:{1}');
  const checking = newest.step();
  newest.forget('ll:{1}');
  await checking;
  expect(checked).toEqual(['1-0']);
  expect(lost).toEqual([]);
});

test('checks many shards in several calls', async () => {
  for (let shard = 0; shard < 1_000; shard++) {
    newest.onPush(`ll:{${shard}}`, 'alice', `${shard}-0`);
    newest.doubt(`ll:{${shard}}`);
  }
  await newest.step();
  expect(checked.length).toBeLessThan(1_000);
  for (let i = 0; i < 10; i++) await newest.step();
  expect(checked).toHaveLength(1_000);
  expect(lost).toHaveLength(1_000);
});

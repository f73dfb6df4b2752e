/** When a shard is marked, and when the inboxes of its clients are read again. */
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { pino } from 'pino';
import { ShardNames } from '../../../common/cluster/shard-names.js';
import { Metrics } from '../../../common/process/metrics.js';
import { IdFloor } from '../../../common/redis/identity/id-floor.js';
import { RedisNames } from '../../../common/redis/redis-names.js';
import {
  EVICTIONS_READ_MS,
  LostHistory,
  type LostHistoryOptions,
} from '../../../edge/shards/lost-history.js';

const MASTERS = ['a:1', 'b:1'];
const SHARDS = 256;
const names = new ShardNames(new RedisNames(''), SHARDS);
/** Shards of the second half belong to the second master. */
const masterOf = (shard: number) => MASTERS[shard < SHARDS / 2 ? 0 : 1]!;

let nowMs: number;
let away: Set<string>;
/** `<shard> <cause>`. */
let marks: string[];
/** `<shard> <since>`. */
let reads: string[];
let history: LostHistory;

beforeEach(() => {
  nowMs = 1_000;
  jest.spyOn(performance, 'now').mockImplementation(() => nowMs);
  away = new Set();
  marks = [];
  reads = [];
  const shardOf = new Map(Array.from({ length: SHARDS }, (_, i) => [names.channelOf(i), i]));
  const options = {
    link: {
      idFloor: new IdFloor(),
      subscriber: { masterOf: (channel: string) => masterOf(shardOf.get(channel)!) },
      execute: async (_command: string, args: string[]) => {
        const shard = shardOf.get(args[2]!.replace(/:lost$/, ''))!;
        if (away.has(masterOf(shard))) return { type: 'unknown', reason: 'Redis is away' };
        marks.push(`${shard} ${args[3]}`);
        return { type: 'done', reply: 1 };
      },
    },
    names,
    shards: { owns: () => true, hasClients: () => true },
    pendingReads: () => 0,
    onMarked: (shard: number, sinceMs: number) => reads.push(`${shard} ${sinceMs}`),
    log: pino({ level: 'silent' }),
    metrics: new Metrics(),
  };
  history = new LostHistory(options as unknown as LostHistoryOptions);
});

afterEach(() => {
  jest.restoreAllMocks();
});

async function steps(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await history.step();
}

test('shards of a master that is away do not delay those of another', async () => {
  away.add('a:1');
  history.onEvicted('a:1', 500, 'evicted:r:1');
  history.onEvicted('b:1', 500, 'evicted:r:1');
  await steps(4);
  expect(reads).toHaveLength(SHARDS / 2);
  away.clear();
  await steps(2);
  expect(new Set(reads).size).toBe(SHARDS);
});

test('under constant eviction every mark is written, and inboxes are read once a minute', async () => {
  for (let i = 0; i < 30; i++) {
    history.onEvicted('a:1', nowMs - 2_000, `evicted:r:${i}`);
    await steps(2);
    nowMs += 2_000;
  }
  expect(marks).toHaveLength(30 * (SHARDS / 2));
  expect(reads).toHaveLength(SHARDS / 2);
  // A minute later, once more, for everything that was lost since the first time.
  expect(nowMs).toBe(1_000 + EVICTIONS_READ_MS);
  reads = [];
  await steps(4);
  expect(reads).toHaveLength(SHARDS / 2);
  expect(reads[0]).toBe('0 1000');
  nowMs += 2 * EVICTIONS_READ_MS;
  await steps(2);
  expect(reads).toHaveLength(SHARDS / 2);
});

test('a counter that fell is told at once, also after an eviction', async () => {
  history.onEvicted('a:1', 500, 'evicted:r:1');
  await steps(2);
  reads = [];
  nowMs += 1_000;
  history.onEvicted('a:1', 1_500, 'evicted:r:2');
  await steps(2);
  expect(reads).toEqual([]);
  history.onCounterFell(3, 9, 4);
  await steps(1);
  expect(reads).toEqual(['3 -Infinity']);
  expect(marks.at(-1)).toBe('3 counter:9:4');
});

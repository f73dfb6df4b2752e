/** Broadcasts to shards of which some do not answer, with answers that the test chooses. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import type { QueryResult, ShardQueries } from '../../../common/cluster/shard-query.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { BroadcastResponse } from '../../../proto/gen/longline/v1/push.js';
import { broadcast } from '../../../router/push/fan-out.js';

const SHARDS = 4_096;
const WAIT_MS = 1_000;
/** Far below the sum of the waits, which is minutes. */
const BOUNDED_MS = 8_000;

type Answer = (shard: number) => 'silent' | Rejection | { readonly written: number };

function fakeQueries(answerOf: Answer) {
  let pendingMax = 0;
  let pending = 0;
  const queryShard = async (
    shard: number,
    _body: unknown,
    timeoutMs: number,
  ): Promise<QueryResult | Rejection> => {
    pendingMax = Math.max(pendingMax, ++pending);
    const answer = answerOf(shard);
    await sleep(answer === 'silent' ? timeoutMs : 1);
    pending--;
    if (answer === 'silent') return { bodies: [], complete: false };
    if ('code' in answer) return answer;
    const body = { $case: 'broadcast', value: { written: answer.written, slow: 0 } } as const;
    return { bodies: [body], complete: true };
  };
  const queries = { shardCount: SHARDS, inFlightMax: 100_000, queryShard };
  return { queries: queries as unknown as ShardQueries, pendingMax: () => pendingMax };
}

async function run(
  queries: ShardQueries,
  clientsPerSecond: number,
  { leftMs = Number.POSITIVE_INFINITY, isEnded = (): boolean => false } = {},
) {
  const startedMs = performance.now();
  const request = { payload: Buffer.from('x'), contentType: '', clientsPerSecond };
  const answerByMs = startedMs + leftMs;
  const limits = { waitMs: WAIT_MS, payloadBytesMax: 1_000, answerByMs, isEnded };
  const response = await broadcast(queries, request, limits);
  return { response, tookMs: performance.now() - startedMs };
}

const isThird = (shard: number) => shard % 3 === 0;
const silentShards = Math.ceil(SHARDS / 3);
const healthy = SHARDS - silentShards;

test('shards that do not answer cost one wait together', async () => {
  const { queries } = fakeQueries((shard) => (isThird(shard) ? 'silent' : { written: 1 }));
  const { response, tookMs } = await run(queries, 1_000_000);
  expect(response).toEqual({
    written: healthy,
    slow: 0,
    shardsUnknown: silentShards,
    shardsNotSent: 0,
  });
  expect(tookMs).toBeLessThan(BOUNDED_MS);
});

test('the same when no shard answers', async () => {
  const { queries } = fakeQueries(() => 'silent');
  const { response, tookMs } = await run(queries, 1_000);
  expect(response).toMatchObject({ written: 0, shardsUnknown: SHARDS });
  expect(tookMs).toBeLessThan(BOUNDED_MS);
});

test('few shards are asked at once while all answer', async () => {
  const { queries, pendingMax } = fakeQueries(() => ({ written: 1 }));
  await run(queries, 1_000_000);
  expect(pendingMax()).toBeLessThanOrEqual(16);
});

test('the rate holds beside shards that do not answer', async () => {
  const { queries } = fakeQueries((shard) => (isThird(shard) ? 'silent' : { written: 1 }));
  const { tookMs } = await run(queries, 1_000);
  expect(tookMs).toBeGreaterThan((healthy / 1_000) * 1_000 * 0.9);
  // Their clients are counted, as they may have been written to.
  expect(tookMs).toBeLessThan((SHARDS / 1_000) * 1_000 + BOUNDED_MS);
});

test('the counts so far are returned when the time is over or the router stops', async () => {
  const { queries } = fakeQueries(() => ({ written: 10 }));
  const late = await run(queries, 1_000, { leftMs: 1_000 });
  const { written, shardsNotSent } = late.response as BroadcastResponse;
  expect(written).toBeGreaterThan(0);
  expect(written / 10 + shardsNotSent).toBe(SHARDS);
  expect(late.tookMs).toBeLessThan(3_000);

  const startedMs = performance.now();
  const stopped = await run(queries, 1, { isEnded: () => performance.now() > startedMs + 300 });
  expect((stopped.response as BroadcastResponse).shardsNotSent).toBeGreaterThan(0);
});

test('a shard that Redis rejects is not sent; the call fails if every shard is', async () => {
  const away = rejection('REDIS_UNAVAILABLE', 'away');
  const some = fakeQueries((shard) => (isThird(shard) ? away : { written: 1 }));
  expect((await run(some.queries, 1_000_000)).response).toEqual({
    written: healthy,
    slow: 0,
    shardsUnknown: 0,
    shardsNotSent: silentShards,
  });
  const all = fakeQueries(() => away);
  expect((await run(all.queries, 1_000)).response).toEqual(away);
});

/** Broadcasts and PushMany with answers that the test chooses: shards do not answer, callers go. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import type { QueryResult, ShardQueries } from '../../../common/cluster/shard-query.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import {
  type BroadcastResponse,
  PushManyRequest,
  type PushManyResponse,
  type PushRequest,
  type PushResponse,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';
import { broadcast, pushMany } from '../../../router/push/fan-out.js';
import type { Pusher } from '../../../router/push/pusher.js';

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

describe('PushMany', () => {
  const clientIds = Array.from({ length: 5_000 }, (_, i) => `c${i}`);

  async function runMany(
    answerOf: (clientId: string) => Verdict | Rejection,
    { isEnded = (_begun: number): boolean => false, ids = clientIds } = {},
  ) {
    const fake = { begun: 0, done: 0, abandoned: 0 };
    const pusher = {
      shardQueries: { shardOf: () => 0, inFlightMax: 100_000 },
      push: async ({ clientId }: PushRequest): Promise<PushResponse | Rejection> => {
        fake.begun++;
        await sleep(5);
        fake.done++;
        const answer = answerOf(clientId);
        if (typeof answer !== 'number') return answer;
        return { verdict: answer, messageId: '', acceptLevel: 0 };
      },
      onAbandoned: (count: number) => {
        fake.abandoned += count;
      },
    } as unknown as Pusher;
    const request = PushManyRequest.fromPartial({ clientIds: ids });
    const response = await pushMany(pusher, request, Number.POSITIVE_INFINITY, () =>
      isEnded(fake.begun),
    );
    return { ...fake, response: response as PushManyResponse };
  }

  test('names every client whose verdict is UNKNOWN', async () => {
    const isUnknown = (clientId: string) => clientId.endsWith('7');
    const { response } = await runMany((clientId) =>
      isUnknown(clientId) ? Verdict.VERDICT_UNKNOWN : Verdict.VERDICT_WRITTEN,
    );
    expect([...response.unknownClientIds].sort()).toEqual(clientIds.filter(isUnknown).sort());
    const unknown = response.counts.find(({ verdict }) => verdict === Verdict.VERDICT_UNKNOWN);
    expect(unknown?.count).toBe(response.unknownClientIds.length);
  });

  test('begins no push after its caller has gone, and completes those in flight', async () => {
    const isEnded = (begun: number) => begun >= 1_500;
    const { begun, done, abandoned } = await runMany(() => Verdict.VERDICT_WRITTEN, { isEnded });
    expect(begun).toBe(1_500);
    expect(done).toBe(1_500);
    expect(abandoned).toBe(clientIds.length - 1_500);
  });

  test('cuts invalid clientIds in its failures, so that the response stays small', async () => {
    const ids = ['x'.repeat(100_000)];
    const invalid = rejection('CLIENT_ID_INVALID', 'the clientId is longer than 256 bytes');
    const { response } = await runMany(() => invalid, { ids });
    expect(response.failures).toEqual([{ clientId: 'x'.repeat(256), failure: invalid }]);
  });
});

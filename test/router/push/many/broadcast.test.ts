/**
 * Broadcasts in a cluster that the test invents: shards with any owners and subscribers, edges of
 * earlier versions, edges and shards that do not answer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { QueryResult, ShardQueries } from '../../../../common/cluster/shard-query.js';
import { type Rejection, rejection } from '../../../../common/process/errors.js';
import {
  BroadcastRequest,
  type BroadcastResponse,
} from '../../../../proto/gen/longline/v1/push.js';
import { broadcast } from '../../../../router/push/many/broadcast.js';

const SHARDS = 4_096;
const WAIT_MS = 1_000;
/** Far below the sum of the waits, which is minutes. The rest of it is for a busy machine. */
const BOUNDED_MS = 25_000;

type Body = Parameters<ShardQueries['queryShard']>[1];

interface Edge {
  /** Shards that it owns and is subscribed to. */
  readonly owns: (shard: number) => boolean;
  /** Shards that it is subscribed to without owning them. */
  readonly hasGuestOf: (shard: number) => boolean;
  /** Its version knows `further_shards` and selectors. */
  readonly isNew: boolean;
  /** It receives and writes, but does not answer. */
  readonly isSilent: boolean;
}

const PLAIN: Edge = { owns: () => true, hasGuestOf: () => false, isNew: true, isSilent: false };

interface Cluster {
  readonly shardCount: number;
  readonly edges: readonly Edge[];
  readonly clientsOf?: (shard: number) => number;
  /** Clients that a selector selects; all by default. */
  readonly selectedOf?: (shard: number) => number;
  /** The groups in the router's assignment. */
  readonly groupOf?: (shard: number) => number;
  readonly answerMs?: number;
  readonly reject?: (shard: number) => Rejection | undefined;
}

/** Edges and a router's view of them. Each subscriber of a shard has clients of it. */
function fakeCluster(cluster: Cluster) {
  const { shardCount, edges, clientsOf = () => 1, groupOf = () => 0, answerMs = 1 } = cluster;
  const { selectedOf = clientsOf } = cluster;
  const writes = edges.map(() => new Array<number>(shardCount).fill(0));
  const subscribersOf = (shard: number) =>
    [...edges.keys()].filter((i) => edges[i]!.owns(shard) || edges[i]!.hasGuestOf(shard));
  let messages = 0;
  let pending = 0;
  let pendingMax = 0;
  const queryShard = async (
    carrier: number,
    body: Body,
    timeoutMs: number,
    awaitsOwner = true,
  ): Promise<QueryResult | Rejection> => {
    const rejected = cluster.reject?.(carrier);
    if (rejected !== undefined) return rejected;
    if (body.$case !== 'broadcast' && body.$case !== 'selectedBroadcast') {
      throw new Error('not a broadcast');
    }
    const hasSelector = body.$case === 'selectedBroadcast';
    expect(body.value.selector !== '').toBe(hasSelector);
    messages++;
    pendingMax = Math.max(pendingMax, ++pending);
    const subscribers = subscribersOf(carrier);
    let hasOwnerReply = false;
    const bodies: QueryResult['bodies'][number][] = [];
    for (const i of subscribers) {
      const edge = edges[i]!;
      if (hasSelector && !edge.isNew) continue;
      const furtherShards = edge.isNew ? body.value.furtherShards.filter(edge.owns) : [];
      let written = 0;
      let notSelected = 0;
      for (const shard of [carrier, ...furtherShards]) {
        writes[i]![shard]!++;
        written += hasSelector ? selectedOf(shard) : clientsOf(shard);
        notSelected += hasSelector ? clientsOf(shard) - selectedOf(shard) : 0;
      }
      if (edge.isSilent) continue;
      hasOwnerReply ||= edge.owns(carrier);
      const counts = { written, slow: 0, dropped: 0, notSelected, labelsUnknown: 0 };
      bodies.push({ $case: 'broadcast', value: { ...counts, furtherShards } });
    }
    const haveAllReplied = bodies.length > 0 && bodies.length === subscribers.length;
    const complete = hasOwnerReply && bodies.length === subscribers.length;
    await sleep(complete || (haveAllReplied && !awaitsOwner) ? answerMs : timeoutMs);
    pending--;
    const waits = { receivers: 1, sentAtMs: 0, repliedAtMs: 0, stalledMs: 0, isTimedOut: false };
    return { bodies, haveAllReplied, complete, waits };
  };
  const groups = {
    group: (shards: Iterable<number>) => {
      const byKey = new Map<number, number[]>();
      for (const shard of shards) {
        const key = groupOf(shard);
        byKey.set(key, [...(byKey.get(key) ?? []), shard]);
      }
      return [...byKey.values()];
    },
    withOneSubscriber: async (shards: readonly number[]) =>
      new Set(shards.filter((shard) => subscribersOf(shard).length === 1)),
  };
  const queries = { shardCount, inFlightMax: 100_000, queryShard };
  return {
    queries,
    groups,
    writes,
    subscribersOf,
    messages: () => messages,
    pendingMax: () => pendingMax,
  };
}

async function run(
  { queries, groups }: Pick<ReturnType<typeof fakeCluster>, 'queries' | 'groups'>,
  clientsPerSecond: number,
  {
    leftMs = Number.POSITIVE_INFINITY,
    isEnded = (): boolean => false,
    waitMs = WAIT_MS,
    selector = '',
  } = {},
) {
  const startedMs = performance.now();
  const request = BroadcastRequest.fromPartial({
    payload: Buffer.from('x'),
    clientsPerSecond,
    selector,
  });
  const answerByMs = startedMs + leftMs;
  const limits = { waitMs, payloadBytesMax: 1_000, answerByMs, isEnded };
  const response = await broadcast(queries, groups, request, limits);
  return { response: response as BroadcastResponse, tookMs: performance.now() - startedMs };
}

const isThird = (shard: number) => shard % 3 === 0;
const silentShards = Math.ceil(SHARDS / 3);
const healthy = SHARDS - silentShards;
/** Two edges; the one with a third of the shards does not answer. */
const silentThird: Cluster = {
  shardCount: SHARDS,
  edges: [
    { ...PLAIN, owns: isThird, isSilent: true },
    { ...PLAIN, owns: (shard) => !isThird(shard) },
  ],
  groupOf: (shard) => (isThird(shard) ? 0 : 1),
};

test('shards that do not answer cost one wait together', async () => {
  const { response, tookMs } = await run(fakeCluster(silentThird), 1_000_000);
  expect(response).toEqual({
    written: healthy,
    slow: 0,
    dropped: 0,
    shardsUnknown: silentShards,
    shardsNotSent: 0,
    notSelected: 0,
    labelsUnknown: 0,
  });
  expect(tookMs).toBeLessThan(BOUNDED_MS);
});

test('the same when no shard answers', async () => {
  const edges = [{ ...PLAIN, isSilent: true }];
  const { response, tookMs } = await run(fakeCluster({ shardCount: SHARDS, edges }), 1_000);
  expect(response).toMatchObject({ written: 0, shardsUnknown: SHARDS });
  expect(tookMs).toBeLessThan(BOUNDED_MS);
});

test('few messages are sent while all edges answer, and few at once', async () => {
  const cluster = fakeCluster({ shardCount: SHARDS, edges: [PLAIN], clientsOf: () => 4 });
  const { response } = await run(cluster, 1_000_000);
  expect(response).toMatchObject({ written: 4 * SHARDS, shardsUnknown: 0, shardsNotSent: 0 });
  // 16,384 clients, 250 in a message, and those before the number of clients of a shard is known.
  expect(cluster.messages()).toBeLessThan(120);
  expect(cluster.pendingMax()).toBeLessThanOrEqual(16);
});

test('the rate holds beside shards that do not answer', async () => {
  const { tookMs } = await run(fakeCluster(silentThird), 1_000);
  expect(tookMs).toBeGreaterThan((healthy / 1_000) * 1_000 * 0.9);
  // Their clients are counted, as they may have been written to.
  expect(tookMs).toBeLessThan((SHARDS / 1_000) * 1_000 + BOUNDED_MS);
});

test('no message has more clients than a tenth of a second permits', async () => {
  const cluster = fakeCluster({ shardCount: 256, edges: [PLAIN], clientsOf: () => 4 });
  await run(cluster, 800);
  // 80 clients are those of 20 shards.
  expect(cluster.messages()).toBeGreaterThanOrEqual(Math.ceil(256 / 20));
});

test('the counts so far are returned when the time is over or the router stops', async () => {
  const cluster: Cluster = { shardCount: SHARDS, edges: [PLAIN], clientsOf: () => 10 };
  const late = await run(fakeCluster(cluster), 1_000, { leftMs: 1_000 });
  const { written, shardsNotSent } = late.response;
  expect(written).toBeGreaterThan(0);
  expect(written / 10 + shardsNotSent).toBe(SHARDS);
  // All of it would take 41 s.
  expect(late.tookMs).toBeLessThan(BOUNDED_MS);

  const startedMs = performance.now();
  const isEnded = () => performance.now() > startedMs + 300;
  const stopped = await run(fakeCluster(cluster), 1, { isEnded });
  expect(stopped.response.shardsNotSent).toBeGreaterThan(0);
});

test('a shard that Redis rejects is not sent; the call fails if every shard is', async () => {
  const away = rejection('REDIS_UNAVAILABLE', 'away');
  const some = fakeCluster({
    ...silentThird,
    edges: [PLAIN],
    reject: (shard) => (isThird(shard) ? away : undefined),
  });
  expect((await run(some, 1_000_000)).response).toEqual({
    written: healthy,
    slow: 0,
    dropped: 0,
    shardsUnknown: 0,
    shardsNotSent: silentShards,
    notSelected: 0,
    labelsUnknown: 0,
  });
  const all = fakeCluster({ shardCount: SHARDS, edges: [PLAIN], reject: () => away });
  expect((await run(all, 1_000)).response).toEqual(away);
});

test('a selector is sent in a form that edges of an earlier version ignore', async () => {
  const edges = [
    { ...PLAIN, owns: isThird, isNew: false },
    { ...PLAIN, owns: (shard: number) => !isThird(shard) },
  ];
  const cluster = fakeCluster({ ...silentThird, edges, clientsOf: () => 4, selectedOf: () => 1 });
  const { response } = await run(cluster, 1_000_000, { selector: 'app=ios' });
  expect(response).toEqual({
    written: healthy,
    slow: 0,
    dropped: 0,
    shardsUnknown: silentShards,
    shardsNotSent: 0,
    notSelected: 3 * healthy,
    labelsUnknown: 0,
  });
  expect(cluster.writes[0]!.every((writes) => writes === 0)).toBe(true);
});

test('clients that are not selected cost no part of the rate, and messages are few and bounded', async () => {
  const cluster = fakeCluster({
    shardCount: SHARDS,
    edges: [PLAIN],
    clientsOf: () => 10,
    selectedOf: () => 0,
  });
  const { response, tookMs } = await run(cluster, 10_000, { selector: 'app=none' });
  expect(response).toMatchObject({ written: 0, notSelected: 10 * SHARDS, shardsUnknown: 0 });
  expect(tookMs).toBeLessThan(BOUNDED_MS);
  // At most 12,500 clients in a message, and fewer before their number is known.
  expect(cluster.messages()).toBeGreaterThanOrEqual(4);
  expect(cluster.messages()).toBeLessThan(60);
});

test('a selector without requirements is none', async () => {
  const cluster = fakeCluster({ shardCount: 8, edges: [{ ...PLAIN, isNew: false }] });
  const { response } = await run(cluster, 1_000_000, { selector: ' ' });
  expect(response).toMatchObject({ written: 8, shardsUnknown: 0 });
});

test('an invalid selector is rejected before anything is sent', async () => {
  const cluster = fakeCluster({ shardCount: SHARDS, edges: [PLAIN] });
  const { response } = await run(cluster, 1_000, { selector: 'app=ios,' });
  const message = 'the selector at character 9: expected a label name or !, found the end';
  expect(response).toEqual(rejection('SELECTOR_INVALID', message));
  expect(cluster.messages()).toBe(0);
});

describe('in any cluster', () => {
  const bits = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 32, maxLength: 32 });
  const edge = fc.record({ guests: bits, isNew: fc.boolean(), isSilent: fc.nat(9) });
  const anyCluster = fc
    .record({
      owners: bits,
      assumed: bits,
      clients: bits,
      edges: fc.array(edge, { minLength: 1, maxLength: 4 }),
    })
    .map(({ owners, assumed, clients, edges }) => ({
      shardCount: 32,
      // An owner that is no edge: the shard has none. The assumed owner may be wrong.
      edges: edges.map(({ guests, isNew, isSilent }, i) => ({
        owns: (shard: number) => owners[shard] === i,
        hasGuestOf: (shard: number) => owners[shard] !== i && guests[shard] === 0,
        isNew,
        isSilent: isSilent === 0,
      })),
      clientsOf: (shard: number) => clients[shard]!,
      groupOf: (shard: number) => assumed[shard]!,
    }));

  test('each subscriber writes each shard once, and the counts say so', async () => {
    await fc.assert(
      fc.asyncProperty(anyCluster, async (description) => {
        const cluster = fakeCluster({ ...description, answerMs: 0 });
        const { response } = await run(cluster, 1_000_000, { waitMs: 20 });
        let written = 0;
        let unknown = 0;
        for (let shard = 0; shard < description.shardCount; shard++) {
          const subscribers = cluster.subscribersOf(shard);
          for (const i of description.edges.keys()) {
            const isTold = subscribers.includes(i) ? 1 : 0;
            const { isSilent } = description.edges[i]!;
            // Sent with others to an edge that did not answer: not again.
            if (subscribers.every((each) => !description.edges[each]!.isSilent)) {
              expect(cluster.writes[i]![shard]).toBeLessThanOrEqual(isTold);
            }
            expect(cluster.writes[i]![shard]).toBeLessThanOrEqual(1);
            if (!isSilent) written += cluster.writes[i]![shard]! * description.clientsOf(shard);
          }
          const isWhole =
            subscribers.some((i) => description.edges[i]!.owns(shard)) &&
            subscribers.every((i) => !description.edges[i]!.isSilent);
          const isMissed = subscribers.some((i) => cluster.writes[i]![shard] === 0);
          if (!isWhole || isMissed) unknown++;
        }
        expect(response.written).toBe(written);
        expect(response.shardsNotSent).toBe(0);
        // Never too few; with others in a message to a silent edge, a shard may be unknown for it.
        expect(response.shardsUnknown).toBeGreaterThanOrEqual(unknown);
      }),
      { numRuns: 60 },
    );
  });

  test('without silent edges, exactly the shards without an owner are unknown', async () => {
    await fc.assert(
      fc.asyncProperty(anyCluster, async (description) => {
        const edges = description.edges.map((each) => ({ ...each, isSilent: false }));
        const cluster = fakeCluster({ ...description, edges, answerMs: 0 });
        const { response } = await run(cluster, 1_000_000, { waitMs: 20 });
        let unowned = 0;
        for (let shard = 0; shard < description.shardCount; shard++) {
          if (!edges.some((each) => each.owns(shard))) unowned++;
          for (const i of edges.keys()) {
            expect(cluster.writes[i]![shard]).toBe(
              cluster.subscribersOf(shard).includes(i) ? 1 : 0,
            );
          }
        }
        expect(response).toMatchObject({ shardsUnknown: unowned, shardsNotSent: 0 });
      }),
      { numRuns: 60 },
    );
  });
});

/** PushMany in a cluster that the test invents, with callers that go. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { OUTCOME_NUMBERS } from '../../../../common/cluster/push-outcomes.js';
import type { QueryResult } from '../../../../common/cluster/shard-query.js';
import { type Rejection, rejection } from '../../../../common/process/errors.js';
import type { PushBody } from '../../../../proto/gen/longline/v1/envelope.js';
import {
  PushManyRequest,
  type PushManyResponse,
  PushRequest,
  type PushResponse,
  Verdict,
} from '../../../../proto/gen/longline/v1/push.js';
import { LivePusher } from '../../../../router/push/many/push-live.js';
import { pushMany } from '../../../../router/push/many/push-many.js';
import type { ShardStore } from '../../../../router/push/many/push-together.js';
import { Tally } from '../../../../router/push/many/tally.js';
import type { Pusher } from '../../../../router/push/pusher.js';

const store = { link: { isCluster: false }, channelOf: String } as unknown as ShardStore;

describe('a PushMany whose pushes are sent alone', () => {
  const clientIds = Array.from({ length: 5_000 }, (_, i) => `c${i}`);

  async function runMany(
    answerOf: (clientId: string) => Verdict | Rejection,
    { isEnded = (_begun: number): boolean => false, ids = clientIds } = {},
  ) {
    const fake = { begun: 0, done: 0, abandoned: 0 };
    const pusher = {
      shardQueries: { shardOf: () => 0, inFlightMax: 100_000 },
      ttlMsOf: () => 60_000,
      rejected: (rejected: Rejection) => rejected,
      push: async ({ clientId }: PushRequest): Promise<PushResponse | Rejection> => {
        fake.begun++;
        await sleep(5);
        fake.done++;
        const answer = answerOf(clientId);
        if (typeof answer !== 'number') return answer;
        const none = { messageId: '', acceptLevel: 0, replacedId: '', flightRecord: undefined };
        return { verdict: answer, ...none };
      },
      onAbandoned: (count: number) => {
        fake.abandoned += count;
      },
    } as unknown as Pusher;
    const shardGroups = { group: () => [], withOneSubscriber: async () => new Set<number>() };
    const options = { pusher, shardGroups, store };
    const request = PushManyRequest.fromPartial({ clientIds: ids, collapseKey: 'k' });
    const response = await pushMany(options, request, Number.POSITIVE_INFINITY, () =>
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
    const { response, begun } = await runMany(() => Verdict.VERDICT_WRITTEN, {
      ids: ['x'.repeat(100_000), 'valid'],
    });
    expect(begun).toBe(1);
    expect(response.failures).toEqual([
      {
        clientId: 'x'.repeat(256),
        failure: expect.objectContaining({ code: 'CLIENT_ID_INVALID' }),
      },
    ]);
  });
});

describe('a live-only PushMany', () => {
  const SHARDS = 16;
  const shardOf = (clientId: string) => Number(clientId.split('-')[0]);
  const connected = (clientId: string) => !clientId.endsWith('away');

  interface Cluster {
    /** By shard: its owner, and whether a guest of it makes a second subscriber. */
    readonly owners: readonly number[];
    readonly guests: readonly boolean[];
    /** Edges of an earlier version, and edges that process but do not answer. */
    readonly isOld: readonly boolean[];
    readonly isSilent: readonly boolean[];
    /** By shard: the owner in the router's assignment. */
    readonly assumed: readonly number[];
  }

  function fake(cluster: Cluster) {
    const { owners, guests, isOld, isSilent, assumed } = cluster;
    const processed = new Map<string, number>();
    const note = (clientId: string) => {
      processed.set(clientId, (processed.get(clientId) ?? 0) + 1);
    };
    const sent: PushBody[] = [];
    const queryShard = async (carrier: number, body: { value: PushBody }): Promise<QueryResult> => {
      sent.push(body.value);
      const waits = { receivers: 1, sentAtMs: 0, repliedAtMs: 0, stalledMs: 0, isTimedOut: false };
      const owner = owners[carrier]!;
      const outcomes = Buffer.alloc(body.value.clientIds.length);
      for (const [i, clientId] of body.value.clientIds.entries()) {
        if (isOld[owner] || owners[shardOf(clientId)] !== owner) continue;
        note(clientId);
        outcomes[i] = OUTCOME_NUMBERS[connected(clientId) ? 'written' : 'absent'];
      }
      if (isSilent[owner]) return { bodies: [], haveAllReplied: false, complete: false, waits };
      const reply = isOld[owner]
        ? ({ $case: 'absent', value: {} } as const)
        : ({ $case: 'multiPush', value: { outcomes, firstIndex: 0 } } as const);
      return { bodies: [reply], haveAllReplied: true, complete: true, waits };
    };
    const verdicts: Verdict[] = [];
    const rejectRate = (clientId: string) =>
      clientId.endsWith('bad') ? rejection('RATE_LIMITED', 'too many') : undefined;
    const pusher = {
      shardQueries: { shardOf, inFlightMax: 100_000, queryShard },
      ttlMsOf: () => 0,
      admit: ({ clientId }: PushRequest) => rejectRate(clientId) ?? 1_000,
      rejectRate,
      rejected: (rejected: Rejection) => rejected,
      onVerdict: (verdict: Verdict, _startedMs: number, count = 1) => {
        for (let i = 0; i < count; i++) verdicts.push(verdict);
      },
      onAbandoned: () => {},
      push: async ({ clientId }: PushRequest, _answerByMs: number, isCounted: boolean) => {
        if (clientId.endsWith('bad') && isCounted) return rejection('RATE_LIMITED', 'too many');
        note(clientId);
        const verdict = connected(clientId) ? Verdict.VERDICT_WRITTEN : Verdict.VERDICT_OFFLINE;
        return { verdict, messageId: '', acceptLevel: 0, replacedId: '' };
      },
    } as unknown as Pusher;
    const groups = {
      group: (shards: Iterable<number>) => {
        const all = [...shards];
        return [0, 1, 2].map((edge) => all.filter((shard) => assumed[shard] === edge));
      },
      withOneSubscriber: async (shards: readonly number[]) =>
        new Set(shards.filter((shard) => !guests[shard])),
    };
    return { pusher, groups, processed, sent };
  }

  const never = Number.POSITIVE_INFINITY;

  async function runLive(cluster: Cluster, clientIds: readonly string[]) {
    const { pusher, groups, processed, sent } = fake(cluster);
    const request = PushManyRequest.fromPartial({ clientIds: [...clientIds], ttlMs: 0 });
    const options = { pusher, shardGroups: groups, store };
    const response = await pushMany(options, request, never, () => false);
    return { processed, messages: sent.length, response: response as PushManyResponse };
  }

  /** One message to the clients of each owner that the router assumes, as for a group. */
  async function runGroup(cluster: Cluster, clientIds: readonly string[]) {
    const { pusher, groups, processed, sent } = fake(cluster);
    const tally = new Tally();
    const common = PushRequest.fromPartial({ ttlMs: 0 });
    const push = { common, answerByMs: never, tally, trace: undefined };
    const live = new LivePusher(pusher, groups, push);
    const clientsOf = (shard: number) => clientIds.filter((each) => shardOf(each) === shard);
    for (const shards of groups.group(new Set(clientIds.map(shardOf)))) {
      await live.send(shards.map((shard) => ({ shard, clientIds: clientsOf(shard) })));
    }
    for (const { clientIds: all, shards, clientCounts } of sent) {
      const named = shards.flatMap((shard, i) => Array<number>(clientCounts[i]!).fill(shard));
      expect(named).toEqual(all.map(shardOf));
    }
    return { processed, tally };
  }

  const edges = <Value>(value: fc.Arbitrary<Value>) =>
    fc.array(value, { minLength: 3, maxLength: 3 });
  const shards = <Value>(value: fc.Arbitrary<Value>) =>
    fc.array(value, { minLength: SHARDS, maxLength: SHARDS });
  const anyCluster = fc.record({
    owners: shards(fc.nat(2)),
    guests: shards(fc.nat(4).map((each) => each === 0)),
    isOld: edges(fc.boolean()),
    isSilent: edges(fc.nat(4).map((each) => each === 0)),
    assumed: shards(fc.nat(2)),
  });
  const client = fc
    .tuple(fc.nat(SHARDS - 1), fc.nat(20), fc.constantFrom('here', 'away', 'bad'))
    .map((parts) => parts.join('-'));

  test('processes each push once, and never claims more than was answered', async () => {
    const anyClients = fc.uniqueArray(client, { minLength: 1, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(anyCluster, anyClients, async (cluster, clientIds) => {
        const { processed, response } = await runLive(cluster, clientIds);
        const unknown = new Set(response.unknownClientIds);
        let [written, offline, failed] = [0, 0, 0];
        for (const clientId of clientIds) {
          const times = processed.get(clientId) ?? 0;
          if (clientId.endsWith('bad')) {
            expect(times).toBe(0);
            failed++;
          } else if (unknown.has(clientId)) expect(times).toBeLessThanOrEqual(1);
          else {
            expect(times).toBe(1);
            if (connected(clientId)) written++;
            else offline++;
          }
        }
        const counts = new Map(response.counts.map(({ verdict, count }) => [verdict, count]));
        expect(counts.get(Verdict.VERDICT_WRITTEN) ?? 0).toBe(written);
        expect(counts.get(Verdict.VERDICT_OFFLINE) ?? 0).toBe(offline);
        expect(counts.get(Verdict.VERDICT_UNKNOWN) ?? 0).toBe(unknown.size);
        expect(response.failed).toBe(failed);
        if (!cluster.isSilent.includes(true)) expect(unknown.size).toBe(0);
      }),
    );
  });

  test('so does a push to a group', async () => {
    const anyClients = fc.uniqueArray(client, { minLength: 1, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(anyCluster, anyClients, async (cluster, clientIds) => {
        const { processed, tally } = await runGroup(cluster, clientIds);
        const valid = clientIds.filter((clientId) => !clientId.endsWith('bad'));
        for (const times of processed.values()) expect(times).toBe(1);
        const counts = new Map(tally.counts.map(({ verdict, count }) => [verdict, count]));
        const [written, offline, unknown] = [
          Verdict.VERDICT_WRITTEN,
          Verdict.VERDICT_OFFLINE,
          Verdict.VERDICT_UNKNOWN,
        ].map((verdict) => counts.get(verdict) ?? 0) as [number, number, number];
        expect(written + offline + unknown).toBe(valid.length);
        expect(tally.failed).toBe(clientIds.length - valid.length);
        const reached = [...processed.keys()];
        expect(written).toBeLessThanOrEqual(reached.filter(connected).length);
        expect(written + offline).toBeLessThanOrEqual(reached.length);
        if (!cluster.isSilent.includes(true)) {
          expect(unknown).toBe(0);
          expect(written).toBe(valid.filter(connected).length);
        }
      }),
    );
  });

  test('sends few messages', async () => {
    const cluster = {
      owners: Array.from({ length: SHARDS }, (_, shard) => shard % 3),
      guests: new Array<boolean>(SHARDS).fill(false),
      isOld: [false, false, false],
      isSilent: [false, false, false],
      assumed: Array.from({ length: SHARDS }, (_, shard) => shard % 3),
    };
    const clientIds = Array.from({ length: 3_000 }, (_, i) => `${i % SHARDS}-${i}-here`);
    const { messages, response } = await runLive(cluster, clientIds);
    expect(response.counts).toEqual([{ verdict: Verdict.VERDICT_WRITTEN, count: 3_000 }]);
    // 250 clients in a message, and the last of each edge.
    expect(messages).toBeLessThanOrEqual(15);
  });
});

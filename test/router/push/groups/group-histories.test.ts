/**
 * Goal: a push to a group reaches every client that is certainly in the group while it runs, once,
 * and none that certainly is not, while routers and devices change the group at the same time.
 * Method: two routers, one that can keep few members, and an edge that the test invents, which owns
 * few of the shards that the routers suppose, on one real Redis; operations drawn at random that
 * run at the same time; the inboxes tell which clients a push has reached. What is certain follows
 * from the times at which operations began and ended.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { readInbox } from '../../../../common/cluster/history/inbox-read.js';
import { NOT_STORED } from '../../../../common/cluster/inbox/push-together.js';
import { noteDevices } from '../../../../common/cluster/presence/user-devices.js';
import { OUTCOME_NUMBERS } from '../../../../common/cluster/push-outcomes.js';
import { ShardNames } from '../../../../common/cluster/shard-names.js';
import { ShardQueries } from '../../../../common/cluster/shard-query.js';
import { Metrics } from '../../../../common/process/metrics.js';
import { openRedis, type RedisLink } from '../../../../common/redis/redis-link.js';
import { deviceOf, userOf } from '../../../../common/wire/client-id.js';
import { unseal } from '../../../../common/wire/sealed-message.js';
import { ShardEnvelope } from '../../../../proto/gen/longline/v1/envelope.js';
import { PushGroupRequest } from '../../../../proto/gen/longline/v1/group.js';
import { Verdict, WaitFor } from '../../../../proto/gen/longline/v1/push.js';
import { pushGroup } from '../../../../router/push/groups/group-push.js';
import { KnownMembers } from '../../../../router/push/groups/known-members.js';
import { Memberships } from '../../../../router/push/groups/memberships.js';
import { Pusher } from '../../../../router/push/pusher.js';
import {
  type LinkedRedis,
  replyOf,
  startLinkedRedis,
} from '../../../support/cluster/redis-link.js';

const SHARDS = 4;
const DEVICES_MAX = 10;
const CLIENTS = ['a', 'a/1', 'a/2', 'b', 'b/1', 'c', 'd/1', 'e', 'f', 'g'];

let linked: LinkedRedis;
let links: RedisLink[];
let routers: Router[];
let histories = 0;
let edge: Redis;
/** Shards that the edge knows to be its own. */
let owned: ReadonlySet<number> = new Set();
/** Clients of each push that the edge has processed. */
const processed = new Map<string, string[]>();

type Router = ReturnType<typeof routerOn>;

beforeAll(async () => {
  linked = await startLinkedRedis();
  const options = { urls: [linked.redis.url], name: 'test', log: pino({ level: 'silent' }) };
  links = [linked.link, await openRedis({ ...options, metrics: new Metrics() })];
  routers = links.map((link, i) => routerOn(link, `lr:{0}:${i}`, i === 0 ? undefined : 6));
  edge = (linked.link.commands as Redis).duplicate({ enableOfflineQueue: true });
  edge.on('smessageBuffer', (channel, bytes) => answer(`${channel}`, bytes));
  await edge.ssubscribe(
    ...Array.from({ length: SHARDS }, (_, i) => names(linked.link).channelOf(i)),
  );
});

afterAll(async () => {
  edge?.disconnect();
  await links?.[1]?.close();
  await linked?.stop();
});

const names = (link: RedisLink) => new ShardNames(link.names, SHARDS);

/** Processes a message as `edge/shards/delivery.ts` does. */
function answer(channel: string, bytes: Buffer): void {
  const unsealed = unseal(bytes);
  // Announcements of devices are empty here.
  if (unsealed.type !== 'intact') return;
  const { body, seq, queryId, replyChannel } = ShardEnvelope.decode(unsealed.content);
  if (body?.$case !== 'storedPush') return;
  const { clientIds, clientCounts, shards, firstIndex, payload } = body.value;
  const outcomes = Buffer.alloc(clientIds.length);
  let from = 0;
  for (const [i, number] of seq.split(' ').entries()) {
    const until = from + clientCounts[i]!;
    const isOwn = channel === names(linked.link).channelOf(shards[i]!);
    if (number !== NOT_STORED && (isOwn || owned.has(shards[i]!))) {
      outcomes.fill(OUTCOME_NUMBERS.written, from, until);
      const others = processed.get(`${payload}`) ?? [];
      processed.set(`${payload}`, [...others, ...clientIds.slice(from, until)]);
    }
    from = until;
  }
  const multiPush = { $case: 'multiPush', value: { outcomes, firstIndex } } as const;
  const standing = { owner: true, others: 0, uninvolved: false, otherEdges: [] };
  const replies = [{ queryId, ...standing, body: multiPush, times: undefined }];
  const router = routers.find((each) => each.replyChannel === replyChannel);
  router?.parts.pusher.shardQueries.onReplies({ edgeId: 'edge', replies });
}

function routerOn(link: RedisLink, replyChannel: string, clientsMax?: number) {
  const metrics = new Metrics();
  const shardQueries = new ShardQueries({
    link,
    channels: { replyChannelFor: () => replyChannel, downReason: () => undefined },
    shardCount: SHARDS,
    inFlightMax: 1_000,
    memory: { beginSend: () => true, endSend: () => {} },
    haveEdgesFollowed: () => true,
    metrics,
    role: 'router',
  });
  const pusher = new Pusher({
    shardQueries,
    link,
    writers: undefined as never,
    storedPushes: { onStored: () => {} },
    traces: { begin: () => undefined },
    config: {
      waitMs: 10_000,
      payloadBytesMax: 1_000,
      ttlDefaultMs: 60_000,
      ttlMaxMs: 60_000,
      inbox: { countMax: 1_000, bytesMax: 1_000_000 },
      acceptLevel: undefined,
      clientPushesPerSecondMax: 1_000_000,
    },
    metrics,
  });
  const store = {
    link,
    channelOf: (shard: number) => names(link).channelOf(shard),
    shardOf: (member: string) => shardQueries.shardOf(member),
    shardCount: SHARDS,
  };
  const memberships = new Memberships({ store, events: undefined, metrics });
  const known = new KnownMembers(new Metrics(), clientsMax);
  const shardGroups = { group: (shards: Iterable<number>) => [[...shards]] } as never;
  const parts = { pusher, shardGroups, store, known, devicesMax: DEVICES_MAX };
  return {
    memberships,
    parts,
    replyChannel,
    channelOf: (client: string) => shardQueries.channelOf(client),
  };
}

type Operation =
  | { readonly type: 'join' | 'leave'; readonly members: readonly string[] }
  | { readonly type: 'delete' }
  | { readonly type: 'note'; readonly device: string }
  | { readonly type: 'push'; readonly asksEdges: boolean };

/** An operation from its start to its end, in the order of all starts and ends. */
interface Span {
  readonly operation: Operation;
  readonly start: number;
  end: number;
  clients: number;
}

const someClients = fc.uniqueArray(fc.constantFrom(...CLIENTS), { minLength: 1, maxLength: 4 });
const operations: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: fc.constant('join' as const), members: someClients }) },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant('leave' as const), members: someClients }),
  },
  { weight: 1, arbitrary: fc.constant({ type: 'delete' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('note' as const),
      device: fc.constantFrom(...CLIENTS.filter((client) => deviceOf(client) !== undefined)),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ type: fc.constant('push' as const), asksEdges: fc.boolean() }),
  },
);
/** Operations that run at the same time, each on one of the routers and after some turns. */
const batches = fc.array(
  fc.record({
    owned: fc.subarray(Array.from({ length: SHARDS }, (_, shard) => shard)),
    atOnce: fc.array(fc.tuple(operations, fc.nat(1), fc.nat(3)), { minLength: 1, maxLength: 4 }),
  }),
  { minLength: 2, maxLength: 8 },
);

test('a push reaches those who are in the group, and none besides', async () => {
  await fc.assert(
    fc.asyncProperty(batches, async (history) => {
      const run = new Run(`h${histories++}`);
      for (const batch of history) {
        owned = new Set(batch.owned);
        await run.atOnce(batch.atOnce);
      }
      await run.check();
    }),
    { numRuns: 100 },
  );
});

/** One history, with a group and clients of its own. */
class Run {
  readonly spans: Span[] = [];
  #time = 0;

  constructor(readonly name: string) {}

  async atOnce(batch: readonly (readonly [Operation, number, number])[]): Promise<void> {
    await Promise.all(
      batch.map(async ([operation, router, turns]) => {
        for (let i = 0; i < turns; i++) await turn();
        const span = { operation, start: this.#time++, end: Number.POSITIVE_INFINITY, clients: 0 };
        const number = this.spans.push(span) - 1;
        await this.#begin(operation, routers[router]!, span, number);
        span.end = this.#time++;
      }),
    );
  }

  async #begin(operation: Operation, router: Router, span: Span, number: number): Promise<void> {
    const { memberships, parts } = router;
    const group = this.name;
    if (operation.type === 'push') {
      const waitFor = operation.asksEdges ? WaitFor.WAIT_FOR_WRITTEN : WaitFor.WAIT_FOR_STORED;
      const payload = Buffer.from(this.#payloadOf(number));
      const request = PushGroupRequest.fromPartial({ group, payload, waitFor });
      const limits = {
        answerByMs: Number.POSITIVE_INFINITY,
        isEnded: () => false,
        rejectPushes: () => undefined,
      };
      const response = await pushGroup(parts, request, limits);
      if ('code' in response) throw new Error(response.message);
      span.clients = response.counts.reduce((sum, { count }) => sum + count, 0);
      const verdict = operation.asksEdges ? Verdict.VERDICT_WRITTEN : Verdict.VERDICT_STORED;
      for (const each of response.counts) expect(each.verdict).toBe(verdict);
      if (!operation.asksEdges) return;
      const reached = processed.get(this.#payloadOf(number)) ?? [];
      expect(new Set(reached).size).toBe(reached.length);
      expect(reached).toHaveLength(span.clients);
      return;
    }
    if (operation.type === 'note') {
      const clientId = this.#own(operation.device);
      const device = { user: userOf(clientId), device: deviceOf(clientId)! };
      const { link } = parts.store;
      replyOf(await noteDevices(link, router.channelOf(clientId), [device], 60, Buffer.alloc(0)));
      return;
    }
    const members = operation.type === 'delete' ? [] : operation.members.map((m) => this.#own(m));
    const change = { group, members };
    const response = await (operation.type === 'delete'
      ? memberships.delete(change)
      : memberships[operation.type](change));
    if ('code' in response) throw new Error(response.message);
  }

  /** Clients of other histories have other names. */
  #own(client: string): string {
    return `${this.name}-${client}`;
  }

  #payloadOf(number: number): string {
    return `${this.name} ${number}`;
  }

  async check(): Promise<void> {
    const pushes = [...this.spans.entries()].filter(
      ([, { operation }]) => operation.type === 'push',
    );
    const received = new Map<string, string[]>();
    for (const client of CLIENTS) {
      const clientId = this.#own(client);
      const channel = routers[0]!.channelOf(clientId);
      const { entries } = replyOf(await readInbox(linked.link, channel, clientId, '', 1_000));
      received.set(
        client,
        entries.map(({ payload }) => `${payload}`),
      );
    }
    for (const [number, push] of pushes) {
      let clients = 0;
      for (const client of CLIENTS) {
        const times = received
          .get(client)!
          .filter((text) => text === this.#payloadOf(number)).length;
        clients += times;
        expect({ number, client, times }).toEqual({
          number,
          client,
          times: this.#isIn(client, push) ?? (times === 0 ? 0 : 1),
        });
      }
      expect(push.clients).toBe(clients);
    }
  }

  /** How often a client must have got a push; undefined: once or not at all. */
  #isIn(client: string, push: Span): 0 | 1 | undefined {
    const member = this.#isMember(client, push);
    const [isSeen, mayBeSeen] = [
      this.#devices(client, push, true),
      this.#devices(client, push, false),
    ];
    if (deviceOf(client) === undefined) {
      // The user stands for the client of its name only without devices.
      if (isSeen.length > 0) return 0;
      return mayBeSeen.length > 0 && member !== 0 ? undefined : member;
    }
    const user = this.#isMember(userOf(client), push);
    if (member === 1 || (user === 1 && isSeen.includes(client))) return 1;
    return member === 0 && (user === 0 || !mayBeSeen.includes(client)) ? 0 : undefined;
  }

  /** Devices of the user that were certainly seen, or may have been. */
  #devices(client: string, push: Span, certainly: boolean): string[] {
    return this.spans.flatMap(({ operation, start, end }) => {
      if (operation.type !== 'note' || userOf(operation.device) !== userOf(client)) return [];
      return (certainly ? end < push.start : start < push.end) ? [operation.device] : [];
    });
  }

  #isMember(member: string, push: Span): 0 | 1 | undefined {
    const named = ({ operation }: Span, type: 'join' | 'leave') =>
      operation.type === type && operation.members.includes(member);
    const joins = this.spans.filter((span) => named(span, 'join') && span.start < push.end);
    const leaves = this.spans.filter(
      (span) => span.operation.type === 'delete' || named(span, 'leave'),
    );
    const isLeftAlone = (join: Span) =>
      join.end < push.start &&
      leaves.every((leave) => leave.end < join.start || leave.start > push.end);
    const isUndone = (join: Span) =>
      leaves.some((leave) => leave.start > join.end && leave.end < push.start);
    if (joins.some(isLeftAlone)) return 1;
    return joins.every(isUndone) ? 0 : undefined;
  }
}

import { expect, test } from '@jest/globals';
import type { EdgeRecord } from '../../../control/membership/edge-record.js';
import { donorsAmong, receiversAmong } from '../../../control/pace/pace-inputs.js';
import { contentOf } from '../planning/plan-inputs.js';

const edge = (id: string, over: Partial<EdgeRecord> = {}): EdgeRecord => ({
  id,
  incarnation: 'i1',
  advertisedUrl: `http://${id}:7000`,
  capacity: 100,
  zone: '',
  heardAtMs: 5_000,
  state: { type: 'alive', session: 1, leaseEndsAtMs: 20_000 },
  counts: {
    connections: 10,
    guests: 0,
    shardsSubscribed: 1,
    ready: true,
    shards: [],
    goawaysPending: 7,
    handshakesPending: 2,
    eventLoopLagMs: 3,
    memoryHeadroom: 0.5,
  },
  ...over,
});

test('donors are alive edges with pending GOAWAYs', () => {
  const dead = edge('c', { state: { type: 'dead', forgetAtMs: 1 } });
  const silent = edge('d', { counts: undefined });
  expect(donorsAmong([edge('a'), dead, silent])).toEqual([{ edgeId: 'a', clientsRemaining: 7 }]);
});

test('receivers are the edges to which shards are being handed over', () => {
  const content = contentOf(3, 8);
  const [first, second, third] = content.edges.map(({ id }) => id);
  const edges = [first!, second!, third!].map((id) => edge(id));
  const moves = [{ shard: 0, from: first!, to: third!, phase: 'handing-over' as const }];
  expect(receiversAmong({ ...content, moves }, edges)).toEqual([
    {
      edgeId: third,
      isAlive: true,
      atMs: 5_000,
      handshakesPending: 2,
      eventLoopLagP99Ms: 3,
      memoryHeadroom: 0.5,
    },
  ]);
});

test('without such moves, receivers are all edges that may own shards', () => {
  const content = contentOf(3, 8);
  const edges = content.edges.map((each, i) => ({
    ...each,
    intent: i === 0 ? ('draining' as const) : ('none' as const),
  }));
  const ids = receiversAmong(
    { ...content, edges },
    content.edges.map(({ id }) => edge(id)),
  );
  expect(ids.map(({ edgeId }) => edgeId)).toEqual(content.edges.slice(1).map(({ id }) => id));
  expect(receiversAmong(undefined, [edge('a')])).toEqual([]);
});

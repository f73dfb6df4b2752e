import { expect, test } from '@jest/globals';
import { type AlarmSources, alarmsOf, searchTextOf } from '../../../control/dashboard/alarms.js';

type Edge = AlarmSources['edges'][number];

const edge: Edge = {
  id: 'edge-1',
  incarnation: 'i1',
  advertisedUrl: 'http://edge-1:7000',
  state: 'alive',
  intent: 'none',
  capacity: 100,
  shardsOwned: 1,
  shardsSubscribed: 1,
  connections: 1,
  guests: 0,
  ready: true,
  reasons: [],
  zone: '',
  eventLoopLagMs: 1,
  memoryBytes: 1_000,
  gaps: 0,
  version: '0.2.0',
  commit: null,
  lastReportAtMs: 0,
  lastReportAgeMs: 0,
};

function alarmsAt(...edges: readonly Edge[]) {
  return alarmsOf({
    cluster: {
      position: { incarnation: 1, epoch: 1 },
      shardCount: 4,
      shardsUnowned: 0,
      edgesAlive: edges.length,
      connections: 0,
      guests: 0,
      shardsMaxOverMean: 1,
      leader: 'control-1',
      build: { version: '0.2.0', node: '24.0.0', commit: '' },
      reasons: [],
      redisMasters: [],
    },
    edges,
    moves: undefined,
    members: undefined,
    canaries: undefined,
  });
}

test('gaps are one alarm with their number and the edges, which its link finds', () => {
  const unknown = { ...edge, id: 'old', gaps: null };
  expect(alarmsAt(edge, unknown)).toEqual([]);
  const found = { ...edge, id: 'edge-2', gaps: 1 };
  expect(alarmsAt(edge, unknown, found)).toEqual([
    {
      name: 'LonglineGaps',
      level: 'warn',
      text: 'edge-2: 1 gap in the numbers of durable pushes in the last 15 minutes; inboxes were read again',
      href: '#/edges/edge-2',
    },
  ]);
  const edges = Array.from({ length: 7 }, (_, i) => ({ ...found, id: `edge-${i}`, gaps: 3 }));
  const [alarm] = alarmsAt(edge, ...edges);
  expect(alarm!.text).toMatch(/^edge-0, edge-1, edge-2, edge-3, edge-4 and 2 more: 21 gaps /);
  const search = new URLSearchParams(alarm!.href.split('?')[1]).get('q')!;
  const isFound = (one: Edge) => searchTextOf(one).includes(search);
  expect([edge, ...edges].filter(isFound)).toEqual(edges);
});

test('the worst alarms come first, and each finds its edges', () => {
  const degraded = { ...edge, reasons: ['Redis is slow & late'] };
  const alarms = alarmsAt(
    ...[degraded, { ...degraded, id: 'edge-2' }],
    ...[3, 4].map((i) => ({ ...edge, id: `edge-${i}`, ready: false })),
    ...[5, 6].map((i) => ({ ...edge, id: `edge-${i}`, state: 'dead' as const, ready: null })),
  );
  expect(alarms.map(({ text, href }) => [text, href])).toEqual([
    ['edge-3, edge-4: not ready', '#/edges?q=not%20ready'],
    ['edge-5, edge-6: dead; other edges have its shards', '#/edges?q=dead'],
    ['edge-1, edge-2: Redis is slow & late', '#/edges?q=Redis%20is%20slow%20%26%20late'],
  ]);
});

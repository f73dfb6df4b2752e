/** Disconnects by a filter, against edges in memory. */
import { expect, test } from '@jest/globals';
import { Metrics } from '../../../../common/process/metrics.js';
import { Disconnects } from '../../../../control/operator/clients/disconnects.js';
import { eventually } from '../../../support/eventually.js';
import { FakeOperations } from '../fake-operations.js';
import { clientAt, type FakeEdge, scansOf } from './fake-edges.js';

const FAST = 1_000_000;

function edge(id: string, count: number): FakeEdge {
  return { id, clients: Array.from({ length: count }, (_, slot) => clientAt(id, slot)) };
}

function disconnectsOf(edges: readonly FakeEdge[], operations = new FakeOperations()) {
  const disconnects = new Disconnects({
    scans: scansOf(edges),
    members: () => edges.map(({ id }) => id),
    operations,
    shardCount: 4_096,
    metrics: new Metrics(),
  });
  const newest = () => disconnects.list().disconnects[0]!;
  return { disconnects, operations, newest };
}

const started = { rate: FAST, reason: 'maintenance', all: true };

test('all clients are disconnected, counted and logged', async () => {
  const edges = [edge('e0', 1_300), edge('e1', 20)];
  const { disconnects, operations, newest } = disconnectsOf(edges);
  expect(disconnects.start(started, 'ada')).toMatchObject({ state: 'running', edges: 2 });
  await eventually(() => expect(newest().state).toBe('finished'));
  expect(newest()).toMatchObject({ clients: 1_320, edgesDone: 2, silentEdges: [], actor: 'ada' });
  expect(edges.flatMap(({ clients }) => clients.filter(Boolean))).toEqual([]);
  expect(operations.calls).toEqual([
    ['disconnect', '', { actor: 'ada', reason: 'maintenance' }, 'all clients rate=1000000'],
    ['disconnected', 1_320, 'finished'],
  ]);
});

test('a client that has connected since the start stays', async () => {
  const edges = [edge('e0', 3)];
  edges[0]!.clients[1]!.connection!.connectedForMs = -1;
  const { disconnects, newest } = disconnectsOf(edges);
  disconnects.start(started, 'ada');
  await eventually(() => expect(newest().state).toBe('finished'));
  expect(newest().clients).toBe(2);
  expect(edges[0]!.clients.filter(Boolean)).toHaveLength(1);
});

test('it goes no faster than its rate, one at a time, and can be cancelled', async () => {
  const edges = [edge('e0', 1_000)];
  const { disconnects, operations, newest } = disconnectsOf(edges);
  disconnects.start({ ...started, rate: 1 }, 'ada');
  expect(disconnects.start(started, 'ada')).toMatchObject({ code: 'DISCONNECT_IN_PROGRESS' });
  await eventually(() => expect(newest().clients).toBeGreaterThan(0));
  expect(newest().clients).toBeLessThan(100);
  expect(disconnects.cancel('enough', 'bob')).toMatchObject({ state: 'cancelled' });
  await eventually(() =>
    expect(operations.calls.at(-1)).toEqual(['disconnected', expect.any(Number), 'cancelled']),
  );
  expect(disconnects.cancel('again', 'bob')).toMatchObject({ code: 'NOT_FOUND' });
  disconnects.start(started, 'ada');
  await eventually(() => expect(newest()).toMatchObject({ id: 2, state: 'finished' }));
});

test('one client is disconnected while many are, which goes on', async () => {
  const edges = [edge('e0', 1_000)];
  const { disconnects } = disconnectsOf(edges);
  disconnects.start({ ...started, rate: 1 }, 'ada');
  const single = { rate: FAST, reason: '', all: false };
  const { clientId } = edges[0]!.clients[500]!.connection!;
  expect(disconnects.start({ ...single, clientId }, 'ada')).toMatchObject({ id: 2 });
  await eventually(() =>
    expect(disconnects.list().disconnects).toMatchObject([
      { id: 2, state: 'finished', clients: 1 },
      { id: 1, state: 'running' },
    ]),
  );
  // Many of them: the one of many stays in the list.
  for (let i = 0; i < 40; i++) disconnects.start({ ...single, user: 'stranger' }, 'ada');
  const { disconnects: listed } = disconnects.list();
  expect(listed.length).toBeLessThanOrEqual(20);
  expect(listed.filter(({ state }) => state === 'running').length).toBeLessThanOrEqual(17);
  expect(disconnects.cancel('enough', 'bob')).toMatchObject({ id: 1, state: 'cancelled' });
});

test('it ends when another control leads', async () => {
  const { disconnects, operations, newest } = disconnectsOf([edge('e0', 1_000)]);
  disconnects.start({ ...started, rate: 1 }, 'ada');
  operations.rejected = { code: 'NOT_LEADER', message: 'another one leads' };
  await eventually(() => expect(newest().state).toBe('interrupted'));
});

test('an edge that does not answer is tried again, and then named', async () => {
  const edges = [edge('e0', 2), edge('e1', 2)];
  edges[0]!.isSilent = true;
  const { disconnects, newest } = disconnectsOf(edges);
  disconnects.start(started, 'ada');
  await eventually(() => expect(newest().state).toBe('finished'));
  expect(newest()).toMatchObject({ clients: 2, edgesDone: 1, silentEdges: ['e0'] });
});

test.each([
  [{ all: false }, 'REQUEST_MALFORMED'],
  [{ all: true, user: 'alice' }, 'REQUEST_MALFORMED'],
  [{ all: false, edge: 'nowhere' }, 'NOT_FOUND'],
  [{ all: false, selector: '!' }, 'SELECTOR_INVALID'],
  [{ all: false, user: 'a/b' }, 'CLIENT_ID_INVALID'],
  [{ all: false, clientId: '/b' }, 'CLIENT_ID_INVALID'],
])('%j is rejected with %s, and nothing happens', (body, code) => {
  const edges = [edge('e0', 2)];
  const { disconnects, operations } = disconnectsOf(edges);
  expect(disconnects.start({ rate: 1, reason: '', ...body }, 'ada')).toMatchObject({ code });
  expect(operations.calls).toEqual([]);
  expect(disconnects.list().disconnects).toEqual([]);
});

/** Lists of clients, against edges in memory: pages, the slowest, and edges that do not answer. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ClientLists } from '../../../../control/operator/clients/client-lists.js';
import type { ClientsResponse } from '../../../../control/operator/clients/responses.js';
import { clientAt, type FakeEdge, scansOf } from './fake-edges.js';

const SHARDS = 4_096;

function listsOf(edges: readonly FakeEdge[]): ClientLists {
  const members = () => edges.map(({ id }) => id);
  return new ClientLists(scansOf(edges), members, SHARDS, () => undefined);
}

/** Edges `e00`, `e01`, …, with clients in the given slots. */
const edgesOf = (layout: readonly (readonly number[])[]): FakeEdge[] =>
  layout.map((slots, i) => {
    const id = `e${`${i}`.padStart(2, '0')}`;
    const clients: FakeEdge['clients'] = [];
    for (const slot of slots) clients[slot] = clientAt(id, slot);
    return { id, clients };
  });

async function allPages(lists: ClientLists, limit: number): Promise<ClientsResponse[]> {
  const pages: ClientsResponse[] = [];
  let page: string | undefined;
  do {
    const response = await lists.list({ limit, page });
    if ('code' in response) throw new Error(response.message);
    pages.push(response);
    page = response.next ?? undefined;
  } while (page !== undefined);
  return pages;
}

test('pages of any size have each client once, by edge and slot', async () => {
  const layouts = fc.array(fc.uniqueArray(fc.nat(40), { maxLength: 30 }), { maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(layouts, fc.integer({ min: 1, max: 50 }), async (layout, limit) => {
      const edges = edgesOf(layout);
      const pages = await allPages(listsOf(edges), limit);
      const expected = edges.flatMap(({ clients }) =>
        clients.flatMap((client) => (client ? [client.connection!.clientId] : [])),
      );
      expect(pages.flatMap(({ clients }) => clients.map(({ clientId }) => clientId))).toEqual(
        expected,
      );
      for (const { clients } of pages) expect(clients.length).toBeLessThanOrEqual(limit);
    }),
    { numRuns: 100 },
  );
});

test('an edge that does not answer is named, and the others are listed', async () => {
  const edges = edgesOf([[1], [2], [3]]);
  edges[1]!.isSilent = true;
  const [page] = await allPages(listsOf(edges), 10);
  expect(page!.clients.map(({ clientId }) => clientId)).toEqual(['e00-1', 'e02-3']);
  expect(page!.silentEdges).toEqual(['e01']);
});

test('the slowest clients come from all parts of all edges, the worst first', async () => {
  const edges = edgesOf([[], []]);
  edges[0]!.clients[30] = clientAt('e00', 30, { bytesWaiting: 5 });
  edges[0]!.clients[2] = clientAt('e00', 2, { bytesWaiting: 50 });
  edges[1]!.clients[9] = clientAt('e01', 9, { bytesWaiting: 20 });
  edges[1]!.clients[10] = clientAt('e01', 10);
  const slowest = async (limit: number) => {
    const response = await listsOf(edges).slowest({ by: 'bytes', limit });
    return 'code' in response ? response : response.clients.map(({ clientId }) => clientId);
  };
  expect(await slowest(10)).toEqual(['e00-2', 'e01-9', 'e00-30']);
  expect(await slowest(2)).toEqual(['e00-2', 'e01-9']);
});

test.each([
  [{ shard: SHARDS }, 'REQUEST_MALFORMED'],
  [{ user: 'alice/phone' }, 'CLIENT_ID_INVALID'],
  [{ selector: 'app in' }, 'SELECTOR_INVALID'],
  [{ edge: 'nowhere' }, 'NOT_FOUND'],
  [{ page: 'noise' }, 'REQUEST_MALFORMED'],
])('%j is rejected with %s', async (query, code) => {
  const response = await listsOf(edgesOf([[1]])).list({ limit: 10, ...query });
  expect(response).toMatchObject({ code });
});

test('lists beyond a bound are rejected while others are in progress', async () => {
  const scans = { scan: () => sleep(20, undefined) };
  const lists = new ClientLists(
    scans,
    () => ['e00'],
    SHARDS,
    () => undefined,
  );
  const responses = await Promise.all(Array.from({ length: 9 }, () => lists.list({ limit: 1 })));
  expect(responses.filter((each) => 'code' in each)).toMatchObject([{ code: 'OVERLOADED' }]);
});

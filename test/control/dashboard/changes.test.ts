import { expect, test } from '@jest/globals';
import { changesOf, linesOf, withoutKnown } from '../../../control/dashboard/changes.js';
import type { ClientResponse } from '../../../control/operator/cluster-responses.js';

const inbox = {
  ...{ count: 0, bytes: 0, oldestId: null, oldestAgeMs: null, oldestTtlMs: null },
  ...{ newestId: '5-0', confirmedId: '5-0', goneId: null, ttlMs: null },
};
const connection = (edgeId: string, connectedAtMs: number) => ({
  ...{ clientId: 'a', edgeId, connectedAtMs, connectedForMs: 0, protocol: 'sse' },
  ...{ remoteAddress: '', labels: '', guest: false, guestReason: null },
});
const client = (changes: Partial<ClientResponse> = {}): ClientResponse => ({
  ...{ clientId: 'a', shard: 7, tag: '7', channel: 'll:{7}', owner: 'e1', ownerUrl: null },
  ...{ connections: [], inbox, complete: true, reconnects: [], move: null, ...changes },
});
const types = (before: ClientResponse, after: ClientResponse) =>
  changesOf(before, after, 9).map(({ type, text }) => `${type} ${text}`);

test('nothing is a change of nothing, and clocks may differ a little', () => {
  expect(types(client(), client())).toEqual([]);
  const at = (ms: number) => client({ connections: [connection('e1', ms)] });
  expect(types(at(10_000), at(10_003))).toEqual([]);
});

test('connections, moves and the inbox', () => {
  const on = client({ connections: [connection('e1', 10_000)] });
  const moved = client({ connections: [connection('e2', 20_000)], owner: 'e2' });
  expect(types(client(), on)).toEqual(['connected on e1 over sse']);
  expect(types(on, moved)).toEqual([
    'connected on e2 over sse',
    'disconnected from e1',
    'shard 7 moved: e1 → e2',
  ]);
  const later = { ...inbox, newestId: '8-0', confirmedId: '7-0', goneId: '6-0' };
  expect(types(client(), client({ inbox: later }))).toEqual([
    'stored up to 8-0',
    'confirmed up to 7-0',
    'gone unconfirmed, up to 6-0',
  ]);
});

test('an answer that is not complete ends no connection, and an unknown inbox changes nothing', () => {
  const on = client({ connections: [connection('e1', 10_000)] });
  expect(types(on, client({ complete: false, inbox: null }))).toEqual([]);
});

test('what events tell is not told twice', () => {
  const on = client({
    connections: [connection('e1', 10_000)],
    inbox: { ...inbox, newestId: '8-0' },
  });
  const changes = changesOf(client(), on, 9);
  const left = (type: string) =>
    withoutKnown(changes, linesOf({ events: [{ id: '9-0', atMs: 9, type }] })).map(
      (one) => one.type,
    );
  expect(left('client.connected')).toEqual(['stored']);
  expect(left('push.confirmed')).toEqual(['connected', 'stored']);
  const [line] = linesOf({
    events: [{ id: '9-0', atMs: 9, type: 'client.disconnected', edgeId: 'e1', reason: 'goaway' }],
  });
  expect(line).toMatchObject({ key: '9-0', text: 'on e1 goaway' });
});

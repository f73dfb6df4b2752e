import { expect, test } from '@jest/globals';
import {
  ClientEvents,
  type ClientReport,
  readClientReport,
} from '../../../control/links/client-reports.js';

const loop = (clientId: string) => ({ clientId, ends: 7, reasons: ['goaway', 'peer'] });
const skip = { clientId: 'alice', messageId: '5-0', reason: 'too_large' };
const report = (more: Partial<ClientReport>): ClientReport => ({
  clientsReturned: 0,
  clientsReturnedIds: [],
  reconnectLoops: [],
  pushesSkipped: [],
  ...more,
});

test('drops what is implausible, and bounds every list', () => {
  const ids = Array.from({ length: 60 }, (_, i) => `client-${i}`);
  const read = readClientReport({
    clientsReturned: 60,
    clientsReturnedIds: ['', ...ids],
    reconnectLoops: [{ ...loop('alice'), reasons: ['<b>'] }, loop('a\nb'), ...ids.map(loop)],
    pushesSkipped: [{ ...skip, messageId: 'x' }, { ...skip, reason: 'A' }, skip],
  });
  expect(read.clientsReturnedIds).toEqual(ids.slice(0, 9));
  expect(read.reconnectLoops).toEqual(ids.slice(0, 48).map(loop));
  expect(read.pushesSkipped).toEqual([skip]);
});

test('names at most 60 clients a minute', () => {
  const events = new ClientEvents();
  const loops = Array.from({ length: 100 }, (_, i) => loop(`client-${i}`));
  const reported = report({ reconnectLoops: loops });
  expect(events.read('edge-1', reported, 0)).toHaveLength(60);
  expect(events.read('edge-1', reported, 59_999)).toHaveLength(0);
  expect(events.read('edge-1', reported, 60_000)).toHaveLength(40);
});

test('names a client that loops once in ten minutes, and every skipped push', () => {
  const events = new ClientEvents();
  const reported = report({ reconnectLoops: [loop('alice')], pushesSkipped: [skip] });
  const skipped = { type: 'push-skipped', edgeId: 'edge-1', ...skip };
  const looping = { type: 'client-reconnecting', edgeId: 'edge-1', clientId: 'alice', ends: 7 };
  const named = [{ ...looping, reason: 'goaway, peer' }, skipped];
  expect(events.read('edge-1', reported, 0)).toEqual(named);
  expect(events.read('edge-1', reported, 599_999)).toEqual([skipped]);
  expect(events.read('edge-1', reported, 600_000)).toEqual(named);
});

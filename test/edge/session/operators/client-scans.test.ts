/** Scans of the connection table for operators. */
import { beforeEach, expect, test } from '@jest/globals';
import { Metrics } from '../../../../common/process/metrics.js';
import { connectionOf } from '../../../../common/transport/transport.js';
import { UNTIL_CLOSE } from '../../../../common/wire/body-framing.js';
import { NdjsonProtocol } from '../../../../edge/protocol/http/ndjson.js';
import { SseProtocol } from '../../../../edge/protocol/http/sse.js';
import { ConnectionLabels } from '../../../../edge/session/connection-labels.js';
import { Connections } from '../../../../edge/session/connections.js';
import { ClientScans, SCAN_SLOTS_MAX } from '../../../../edge/session/operators/client-scans.js';
import { PushCounts } from '../../../../edge/session/slow/push-counts.js';
import { ClientFilter, SlowBy } from '../../../../proto/gen/longline/v1/clients.js';
import { ClientScan } from '../../../../proto/gen/longline/v1/edge_session.js';
import { Presence } from '../../../../proto/gen/longline/v1/push.js';

const SSE = new SseProtocol(UNTIL_CLOSE);
const NDJSON = new NdjsonProtocol(UNTIL_CLOSE);
const NOTHING = new Uint8Array();

let table: Connections;
let labels: ConnectionLabels;
let counts: PushCounts;
let buffered: Map<number, number>;
let scans: ClientScans;

beforeEach(() => {
  table = new Connections(4096);
  labels = new ConnectionLabels(10, [], new Metrics());
  counts = new PushCounts();
  buffered = new Map();
  scans = new ClientScans({
    table,
    transport: { bufferedBytes: (connection) => buffered.get(connection) ?? 0 },
    counts,
    labels,
    describe: (connection) => ({
      ...Presence.decode(NOTHING),
      clientId: table.clientIdOf(connection),
    }),
    disconnect: (connection) => table.remove(connection),
    metrics: new Metrics(),
  });
});

function add(
  slot: number,
  clientId: string,
  shard = 1,
  protocol: SseProtocol | NdjsonProtocol = SSE,
) {
  const connection = connectionOf(slot, 1);
  table.add(connection, clientId, shard, protocol, performance.now() - 1_000);
  table.setState(connection, 'live');
  return connection;
}

function scan(filter: Partial<ClientFilter> = {}, changes: Partial<ClientScan> = {}) {
  const result = scans.scan({
    ...ClientScan.decode(NOTHING),
    filter: { ...ClientFilter.decode(NOTHING), ...filter },
    clientsMax: 100,
    ...changes,
  });
  const ids = result.clients.map(({ connection }) => connection!.clientId);
  return { ...result, ids };
}

test('each part of a filter selects, and all of them together', () => {
  labels.set(add(1, 'alice/phone', 1), 'app=ios', '');
  labels.set(add(2, 'alice/tab', 1, NDJSON), 'app=web', '');
  add(3, 'bob', 2);
  table.setState(add(4, 'carol', 2), 'opening');
  expect(scan().ids).toEqual(['alice/phone', 'alice/tab', 'bob']);
  expect(scan({ shard: 2 }).ids).toEqual(['bob']);
  expect(scan({ shard: 0 }).ids).toEqual([]);
  expect(scan({ clientId: 'alice/tab' }).ids).toEqual(['alice/tab']);
  expect(scan({ clientId: 'alice' }).ids).toEqual([]);
  expect(scan({ user: 'alice' }).ids).toEqual(['alice/phone', 'alice/tab']);
  expect(scan({ protocol: 'ndjson' }).ids).toEqual(['alice/tab']);
  expect(scan({ selector: 'app' }).ids).toEqual(['alice/phone', 'alice/tab']);
  expect(scan({ selector: 'app=ios', user: 'bob' }).ids).toEqual([]);
  expect(scan({ selector: '!(' }).ids).toEqual([]);
  expect(scan({ olderThanMs: 500 }).ids).toHaveLength(3);
  expect(scan({ olderThanMs: 60_000 }).ids).toEqual([]);
});

test('a scan continues where the one before has ended', () => {
  for (let slot = 0; slot < 10; slot++) add(slot, `client-${slot}`);
  add(SCAN_SLOTS_MAX + 5, 'far');
  const first = scan({}, { clientsMax: 4 });
  expect([first.ids.length, first.nextSlot]).toEqual([4, 4]);
  const second = scan({}, { fromSlot: 4 });
  expect([second.ids.length, second.nextSlot]).toEqual([6, SCAN_SLOTS_MAX + 4]);
  const third = scan({}, { fromSlot: second.nextSlot });
  expect(third.ids).toEqual(['far']);
  let { nextSlot } = third;
  while (nextSlot > 0) ({ nextSlot } = scan({}, { fromSlot: nextSlot }));
});

test('the slowest have most, and those without anything are not among them', () => {
  const [alice, bob] = [add(1, 'alice'), add(2, 'bob')];
  add(3, 'carol');
  buffered.set(bob, 100).set(alice, 5);
  for (let i = 0; i < 3; i++) counts.onWritten(alice);
  counts.onDropped(bob);
  expect(scan({}, { slowBy: SlowBy.SLOW_BY_BYTES }).ids).toEqual(['bob', 'alice']);
  expect(scan({}, { slowBy: SlowBy.SLOW_BY_BYTES, clientsMax: 1 }).ids).toEqual(['bob']);
  expect(scan({}, { slowBy: SlowBy.SLOW_BY_UNCONFIRMED }).clients).toMatchObject([
    { unconfirmed: 3, bytesWaiting: 5 },
  ]);
  expect(scan({}, { slowBy: SlowBy.SLOW_BY_DROPS }).clients).toMatchObject([{ dropped: 1 }]);
  counts.onConfirmed(alice);
  expect(scan({}, { slowBy: SlowBy.SLOW_BY_UNCONFIRMED }).ids).toEqual([]);
});

test('those that match are disconnected, no more than asked for', () => {
  for (let slot = 0; slot < 5; slot++) add(slot, `client-${slot}`);
  const result = scan({}, { disconnect: true, clientsMax: 3 });
  expect(result).toMatchObject({ disconnected: 3, nextSlot: 3, clients: [] });
  expect(scan().ids).toEqual(['client-3', 'client-4']);
});

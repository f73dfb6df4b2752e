import { expect, test } from '@jest/globals';
import { Metrics } from '../../../common/process/metrics.js';
import type { Transport } from '../../../common/transport/transport.js';
import { connectionOf } from '../../../common/transport/transport.js';
import { UNTIL_CLOSE } from '../../../common/wire/body-framing.js';
import { SseProtocol } from '../../../edge/protocol/http/sse.js';
import type { CatchUp } from '../../../edge/session/catch-up.js';
import { Clients } from '../../../edge/session/clients.js';
import type { Confirmations } from '../../../edge/session/confirmations.js';
import { ConnectionLabels } from '../../../edge/session/connection-labels.js';
import { Connections } from '../../../edge/session/connections.js';
import { MessageLimits } from '../../../edge/session/message-limits.js';
import { PushCounts } from '../../../edge/session/slow/push-counts.js';
import { SlowDevices } from '../../../edge/session/slow/slow-devices.js';
import { Takeover } from '../../../edge/session/takeover.js';
import type { TokenExpiry } from '../../../edge/session/token-expiry.js';
import type { Shards } from '../../../edge/shards/shards.js';
import { WhenSlow } from '../../../proto/gen/longline/v1/push.js';

const SHARD = 7;
const ALICE = 1;
const SSE = new SseProtocol(UNTIL_CLOSE);

/**
 * An edge with one live connection, of alice, and the bytes written to it. Types are forced: the
 * tests cause calls of these methods only.
 */
function edgeWithAlice(shards: { isConfirmed: boolean }) {
  const written: string[] = [];
  const ended: number[] = [];
  const parked: number[] = [];
  /** The send buffer is full while bytes are unread. */
  const unread = { bytes: 0 };
  const transport = {
    bufferedBytes: () => unread.bytes,
    destroy(connection: number) {
      ended.push(connection);
    },
    write(_: number, bytes: Uint8Array) {
      if (unread.bytes > 0) return 'full';
      written.push(Buffer.from(bytes).toString());
      return 'accepted';
    },
    end(connection: number) {
      ended.push(connection);
    },
  } as unknown as Transport;
  const table = new Connections(4096);
  const counts = new PushCounts();
  const catchUp = {
    stop: () => {},
    parkUnlessDrained: (connection: number) => unread.bytes > 0 && parked.push(connection) > 0,
  } as unknown as CatchUp;
  const slowDevices = new SlowDevices({
    sendBufferBytesMax: 1_024,
    table,
    transport,
    catchUp,
    onDropped: (connection) => counts.onDropped(connection),
    end: (connection) => clients.end(connection, 'slow'),
  });
  const clients: Clients = new Clients({
    edgeId: 'edge-1',
    inboundBytesPerSecondMax: 65_536,
    table,
    names: { channelOf: String },
    shards: { isConfirmed: () => shards.isConfirmed, reconcile: () => {} } as unknown as Shards,
    transport,
    peers: { addressOf: () => '192.0.2.1:1', isFronted: () => false },
    catchUp,
    confirmations: { flushClient: () => {} } as unknown as Confirmations,
    tokenExpiry: {} as TokenExpiry,
    takeover: new Takeover('here'),
    announcements: { add: () => {}, note: () => {} },
    limits: new MessageLimits(),
    labels: new ConnectionLabels(10, [], new Metrics()),
    counts,
    slowDevices,
    onEnded: () => {},
    onOverLimit: () => {},
    metrics: new Metrics(),
  });
  table.add(ALICE, 'alice', SHARD, SSE, 0);
  table.setState(ALICE, 'live');
  const push = (id: string, whenSlow = WhenSlow.WHEN_SLOW_UNSPECIFIED) =>
    clients.push(SHARD, 'alice', { ...messageOf(id), whenSlow });
  return { clients, slowDevices, counts, push, table, written, ended, parked, unread };
}

function messageOf(id: string) {
  return { id, payload: Buffer.from('x'), contentType: '', ttlMs: 60_000 };
}

test('a push that finds the send buffer full ends the connection, unless it asks for something else', () => {
  const { push, table, counts, written, ended, parked, unread } = edgeWithAlice({
    isConfirmed: true,
  });
  expect([push('5-0'), counts.unconfirmed(ALICE)]).toEqual(['written', 1]);
  unread.bytes = 1_000;
  expect(push('', WhenSlow.WHEN_SLOW_DROP)).toBe('dropped');
  expect(push('', WhenSlow.WHEN_SLOW_DROP)).toBe('dropped');
  expect(counts.dropped(ALICE)).toBe(2);
  expect(push('6-0', WhenSlow.WHEN_SLOW_KEEP)).toBe('catchingUp');
  expect(parked).toEqual([ALICE]);
  expect([table.lastSentId(ALICE), written.length, ended]).toEqual(['5-0', 1, []]);
  expect(push('7-0', WhenSlow.WHEN_SLOW_DISCONNECT)).toBe('slow');
  expect(ended).toEqual([ALICE]);
  expect([counts.unconfirmed(ALICE), counts.dropped(ALICE)]).toEqual([0, 0]);
});

test('a push that asks for something is written as any other while there is room', () => {
  const { push, written } = edgeWithAlice({ isConfirmed: true });
  for (const id of ['', '5-0']) {
    for (const whenSlow of [WhenSlow.WHEN_SLOW_DROP, WhenSlow.WHEN_SLOW_KEEP]) {
      expect(push(id, whenSlow)).toBe('written');
    }
  }
  expect(written).toHaveLength(3);
});

test('a push advances the last sent id, and is not written again', () => {
  const { push, table, written } = edgeWithAlice({ isConfirmed: true });
  expect(push('5-0')).toBe('written');
  expect(push('5-0')).toBe('written');
  expect(table.lastSentId(ALICE)).toBe('5-0');
  expect(written).toEqual(['id: 5-0\ndata: x\n\n']);
});

test('a push that arrives before the subscription is confirmed again waits in the inbox', () => {
  const shards = { isConfirmed: true };
  const { push, table, written } = edgeWithAlice(shards);
  push('5-0');
  // 6-0 is missed while Redis is unreachable; 7-0 arrives before the confirmation.
  shards.isConfirmed = false;
  expect(push('7-0')).toBe('catchingUp');
  expect(table.lastSentId(ALICE)).toBe('5-0');
  expect(written).toHaveLength(1);
});

test('bytes from a device that may only listen end its connection', () => {
  const { clients, table, ended } = edgeWithAlice({ isConfirmed: true });
  clients.onBytes(ALICE, Buffer.from('x'));
  expect(ended).toEqual([ALICE]);
  expect(table.count).toBe(0);
});

test('a connection ends for a lack of memory if its device has not read everything', () => {
  const { slowDevices, table, ended, unread } = edgeWithAlice({ isConfirmed: true });
  const bob = connectionOf(2, 1);
  table.add(bob, 'bob', SHARD, SSE, 0);
  table.setState(bob, 'live');
  slowDevices.endUnread();
  expect(ended).toEqual([]);
  unread.bytes = 1;
  slowDevices.endUnread();
  expect(ended).toEqual([bob]);
});

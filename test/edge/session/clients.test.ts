import { expect, test } from '@jest/globals';
import { Metrics } from '../../../common/process/metrics.js';
import type { Transport } from '../../../common/transport/transport.js';
import { connectionOf } from '../../../common/transport/transport.js';
import { UNTIL_CLOSE } from '../../../common/wire/body-framing.js';
import { SseProtocol } from '../../../edge/protocol/http/sse.js';
import type { CatchUp } from '../../../edge/session/catch-up.js';
import { Clients } from '../../../edge/session/clients.js';
import type { Confirmations } from '../../../edge/session/confirmations.js';
import { Connections } from '../../../edge/session/connections.js';
import { MessageLimits } from '../../../edge/session/message-limits.js';
import { Takeover } from '../../../edge/session/takeover.js';
import type { TokenExpiry } from '../../../edge/session/token-expiry.js';
import type { Shards } from '../../../edge/shards/shards.js';

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
  const unread = { bytes: 0 };
  const transport = {
    bufferedBytes: () => unread.bytes,
    destroy(connection: number) {
      ended.push(connection);
    },
    write(_: number, bytes: Uint8Array) {
      written.push(Buffer.from(bytes).toString());
      return 'accepted';
    },
    end(connection: number) {
      ended.push(connection);
    },
  } as unknown as Transport;
  const table = new Connections(4096);
  const clients = new Clients({
    edgeId: 'edge-1',
    inboundBytesPerSecondMax: 65_536,
    table,
    names: { channelOf: String },
    shards: { isConfirmed: () => shards.isConfirmed, reconcile: () => {} } as unknown as Shards,
    transport,
    peers: { addressOf: () => '192.0.2.1:1', isFronted: () => false },
    catchUp: { stop: () => {} } as unknown as CatchUp,
    confirmations: { flushClient: () => {} } as unknown as Confirmations,
    tokenExpiry: {} as TokenExpiry,
    takeover: new Takeover('here'),
    announcements: { add: () => {} },
    limits: new MessageLimits(),
    onEnded: () => {},
    onOverLimit: () => {},
    metrics: new Metrics(),
  });
  table.add(ALICE, 'alice', SHARD, SSE, 0);
  table.setState(ALICE, 'live');
  const push = (id: string) => clients.push(SHARD, 'alice', messageOf(id));
  return { clients, push, table, written, ended, unread };
}

function messageOf(id: string) {
  return { id, payload: Buffer.from('x'), contentType: '', ttlMs: 60_000 };
}

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
  const { clients, table, ended, unread } = edgeWithAlice({ isConfirmed: true });
  const bob = connectionOf(2, 1);
  table.add(bob, 'bob', SHARD, SSE, 0);
  table.setState(bob, 'live');
  clients.endUnread();
  expect(ended).toEqual([]);
  unread.bytes = 1;
  clients.endUnread();
  expect(ended).toEqual([bob]);
});

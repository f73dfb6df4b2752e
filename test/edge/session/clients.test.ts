import { expect, test } from '@jest/globals';
import { Metrics } from '../../../common/process/metrics.js';
import type { Transport } from '../../../common/transport/transport.js';
import { PeerAddresses } from '../../../edge/accept/peer-addresses.js';
import { SseProtocol } from '../../../edge/protocol/http/sse.js';
import type { CatchUp } from '../../../edge/session/catch-up.js';
import { Clients } from '../../../edge/session/clients.js';
import type { Confirmations } from '../../../edge/session/confirmations.js';
import { Connections } from '../../../edge/session/connections.js';
import { Takeover } from '../../../edge/session/takeover.js';
import type { TokenExpiry } from '../../../edge/session/token-expiry.js';
import type { Shards } from '../../../edge/shards/shards.js';

const SHARD = 7;
const ALICE = 1;
const SSE = new SseProtocol();

/**
 * An edge with one live connection, of alice, and what is written to it. The types are forced: of
 * its transport and its shards, a push uses just what stands here.
 */
function edgeWithAlice(shards: { isConfirmed: boolean }) {
  const written: string[] = [];
  const transport = {
    write(_: number, bytes: Uint8Array) {
      written.push(Buffer.from(bytes).toString());
      return 'accepted';
    },
  } as unknown as Transport;
  const table = new Connections(4096, [SSE]);
  const clients = new Clients(
    table,
    { isConfirmed: () => shards.isConfirmed } as unknown as Shards,
    transport,
    {} as CatchUp,
    {} as Confirmations,
    {} as TokenExpiry,
    new Takeover('here'),
    'edge-1',
    65_536,
    new PeerAddresses(),
    () => {},
    new Metrics(),
  );
  table.add(ALICE, 'alice', SHARD, SSE, 0);
  table.become(ALICE, 'live');
  const push = (id: string) => clients.push(SHARD, 'alice', messageOf(id));
  return { push, table, written };
}

function messageOf(id: string) {
  return { id, payload: Buffer.from('x'), contentType: '', ttlMs: 60_000 };
}

test('a push moves the mark of what was sent, and is not written again', () => {
  const { push, table, written } = edgeWithAlice({ isConfirmed: true });
  expect(push('5-0')).toBe('written');
  expect(push('5-0')).toBe('written');
  expect(table.lastSentId(ALICE)).toBe('5-0');
  expect(written).toEqual(['id: 5-0\ndata: x\n\n']);
});

test('a push that comes before its subscription is known to be back waits in the inbox', () => {
  const shards = { isConfirmed: true };
  const { push, table, written } = edgeWithAlice(shards);
  push('5-0');
  // 6-0 is missed while Redis is away; 7-0 comes before the confirmation does.
  shards.isConfirmed = false;
  expect(push('7-0')).toBe('catchingUp');
  expect(table.lastSentId(ALICE)).toBe('5-0');
  expect(written).toHaveLength(1);
});

import { beforeEach, expect, test } from '@jest/globals';
import { shardOf } from '../../../../common/cluster/shard.js';
import { connectionOf } from '../../../../common/transport/transport.js';
import { UNTIL_CLOSE } from '../../../../common/wire/body-framing.js';
import { SseProtocol } from '../../../../edge/protocol/http/sse.js';
import { Connections } from '../../../../edge/session/connections.js';
import { Revocations } from '../../../../edge/session/operators/revocations.js';

const SSE = new SseProtocol(UNTIL_CLOSE);
const NEVER = Number.POSITIVE_INFINITY;

let table: Connections;
let ended: string[];
let revocations: Revocations;

beforeEach(() => {
  table = new Connections(4096);
  ended = [];
  revocations = new Revocations(table, (connection) => {
    ended.push(table.clientIdOf(connection));
    table.remove(connection);
  });
});

function add(slot: number, clientId: string, issuedAtMs: number): void {
  const connection = connectionOf(slot, 1);
  table.add(connection, clientId, shardOf(clientId, 4096), SSE, 0);
  table.setIssued(connection, issuedAtMs);
}

test('tokens issued before the time are revoked, of a user or of all, and those without a time', () => {
  revocations.replace([
    { user: 'alice', beforeMs: 8_000 },
    { user: '', beforeMs: 5_000 },
  ]);
  const isRevoked = (clientId: string, issuedAtMs: number) =>
    revocations.isRevoked(clientId, issuedAtMs);
  expect([4_000, 5_000].map((atMs) => isRevoked('bob', atMs))).toEqual([true, false]);
  expect([7_000, 8_000].map((atMs) => isRevoked('alice/phone', atMs))).toEqual([true, false]);
  expect([isRevoked('alice', 7_000), isRevoked('alicia', 7_000)]).toEqual([true, false]);
  expect([isRevoked('bob', 0), isRevoked('bob', NEVER)]).toEqual([true, false]);
  revocations.replace([]);
  expect(isRevoked('bob', 0)).toBe(false);
});

test('connections with revoked tokens end, and only they', () => {
  add(1, 'alice/phone', 7_000);
  add(2, 'alice/tab', 9_000);
  add(3, 'bob', 7_000);
  add(4, 'carol', 0);
  add(5, 'dave', NEVER);
  revocations.replace([{ user: 'alice', beforeMs: 8_000 }]);
  revocations.step();
  expect(ended).toEqual(['alice/phone']);
  revocations.replace([
    { user: 'alice', beforeMs: 8_000 },
    { user: '', beforeMs: 8_000 },
  ]);
  revocations.step();
  expect(ended).toEqual(['alice/phone', 'bob', 'carol']);
});

test('many connections end over several steps, a bounded number in each', () => {
  for (let slot = 0; slot < 2_500; slot++) add(slot, `client-${slot}`, 1_000);
  revocations.replace([{ user: '', beforeMs: 2_000 }]);
  const counts = [1, 2, 3, 4].map(() => {
    revocations.step();
    return ended.length;
  });
  expect(counts).toEqual([1_000, 2_000, 2_500, 2_500]);
});

test('a revocation that is removed ends no further connection', () => {
  for (let slot = 0; slot < 1_500; slot++) add(slot, `client-${slot}`, 1_000);
  revocations.replace([{ user: '', beforeMs: 2_000 }]);
  revocations.step();
  revocations.replace([]);
  revocations.step();
  expect(ended).toHaveLength(1_000);
});

test('a slot keeps nothing of the connection before', () => {
  add(1, 'alice', 1_000);
  table.remove(connectionOf(1, 1));
  table.add(connectionOf(1, 2), 'bob', shardOf('bob', 4096), SSE, 0);
  revocations.replace([{ user: '', beforeMs: 2_000 }]);
  revocations.step();
  expect(ended).toEqual([]);
});

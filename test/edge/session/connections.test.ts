import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { connectionOf } from '../../../common/transport/transport.js';
import { UNTIL_CLOSE } from '../../../common/wire/body-framing.js';
import { SseProtocol } from '../../../edge/protocol/http/sse.js';
import { Connections } from '../../../edge/session/connections.js';

const SHARDS = 4;
const SSE = new SseProtocol(UNTIL_CLOSE);
const connectionAt = (slot: number, generation: number) => connectionOf(slot, generation);

describe('Connections', () => {
  test('a newer connection of a client replaces the older one', () => {
    const table = new Connections(SHARDS);
    expect(table.add(connectionAt(0, 1), 'alice', 2, SSE, 10)).toBeUndefined();
    expect(table.add(connectionAt(1, 1), 'alice', 2, SSE, 20)).toBe(connectionAt(0, 1));
    expect(table.find(2, 'alice')).toBe(connectionAt(1, 1));
    expect(table.count).toBe(1);
  });

  test('removing the older connection does not remove the newer one', () => {
    const table = new Connections(SHARDS);
    table.add(connectionAt(0, 1), 'alice', 2, SSE, 10);
    table.add(connectionAt(1, 1), 'alice', 2, SSE, 20);
    expect(table.remove(connectionAt(0, 1))).toBe(false);
    expect(table.find(2, 'alice')).toBe(connectionAt(1, 1));
  });

  test('a connection of an earlier generation of a slot is not registered', () => {
    const table = new Connections(SHARDS);
    table.add(connectionAt(3, 2), 'bob', 0, SSE, 10);
    expect(table.has(connectionAt(3, 1))).toBe(false);
    expect(table.remove(connectionAt(3, 1))).toBe(false);
    expect(table.count).toBe(1);
  });

  test('registers slots far beyond the first', () => {
    const table = new Connections(SHARDS);
    table.add(connectionAt(100_000, 1), 'far', 1, SSE, 10);
    expect(table.find(1, 'far')).toBe(connectionAt(100_000, 1));
    expect(table.connectedAtMs(connectionAt(100_000, 1))).toBe(10);
  });

  test('only accepted connections are swept, each once per round', () => {
    const table = new Connections(SHARDS);
    for (let slot = 0; slot < 10; slot++) {
      table.add(connectionAt(slot, 1), `c${slot}`, slot % SHARDS, SSE, 0);
      if (slot % 2 === 0) table.setState(connectionAt(slot, 1), 'live');
    }
    const swept = [0, 1, 2].flatMap((part) => [...table.acceptedPart(part, 3)]);
    expect(swept.sort()).toEqual([0, 2, 4, 6, 8].map((slot) => connectionAt(slot, 1)).sort());
  });

  test('decides by the order of ids what was sent', () => {
    const table = new Connections(SHARDS);
    const connection = connectionAt(0, 1);
    table.add(connection, 'alice', 2, SSE, 10);
    expect(table.lastSentId(connection)).toBe('');
    expect(table.wasSent(connection, '0-1')).toBe(false);
    table.markSent(connection, '1700000000000-9');
    expect(table.lastSentId(connection)).toBe('1700000000000-9');
    for (const id of ['1700000000000-9', '1700000000000-8', '999999999999-10']) {
      expect(table.wasSent(connection, id)).toBe(true);
    }
    for (const id of ['1700000000000-10', '1700000000001-0', '10000000000000-0']) {
      expect(table.wasSent(connection, id)).toBe(false);
    }
  });

  test('agrees with a plain model under any history', () => {
    const step = fc.record({
      slot: fc.nat(5),
      client: fc.nat(3),
      remove: fc.boolean(),
      stale: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const table = new Connections(SHARDS);
        const model = new Map<string, number>();
        const generations = new Map<number, number>();
        for (const { slot, client, remove, stale } of steps) {
          const clientId = `c${client}`;
          const shard = client % SHARDS;
          const generation = generations.get(slot) ?? 2;
          if (remove) {
            const connection = connectionAt(slot, stale ? generation - 1 : generation);
            const owner = [...model].find(([, held]) => held === connection);
            expect(table.remove(connection)).toBe(owner !== undefined);
            if (owner !== undefined) model.delete(owner[0]);
          } else if (![...model.values()].includes(connectionAt(slot, generation))) {
            generations.set(slot, generation + 1);
            const connection = connectionAt(slot, generation + 1);
            expect(table.add(connection, clientId, shard, SSE, 0)).toBe(model.get(clientId));
            model.set(clientId, connection);
          }
          expect(table.count).toBe(model.size);
          for (const [id, held] of model) {
            expect(table.find(Number(id.slice(1)) % SHARDS, id)).toBe(held);
            expect(table.clientIdOf(held)).toBe(id);
          }
          const { shards, connections } = table.loads();
          expect(shards.map((shard) => table.countOf(shard))).toEqual(connections);
          expect(connections.reduce((sum, count) => sum + count, 0)).toBe(model.size);
        }
      }),
    );
  });
});

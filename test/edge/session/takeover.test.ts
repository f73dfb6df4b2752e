import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Takeover } from '../../../edge/session/takeover.js';

const from = (edgeIncarnation: string, connection: number, renewed = false) => ({
  edgeIncarnation,
  connection,
  renewed,
});

describe('Takeover', () => {
  test('an announcement after our own closes our connection', () => {
    const takeover = new Takeover('A');
    takeover.onAnnouncing(1, 0);
    expect(takeover.onAnnounced(from('A', 1), 1)).toBe('nothing');
    expect(takeover.onAnnounced(from('B', 7), 1)).toBe('close');
  });

  test('an announcement before our own does not', () => {
    const takeover = new Takeover('A');
    takeover.onAnnouncing(1, 0);
    expect(takeover.onAnnounced(from('B', 7), 1)).toBe('nothing');
  });

  test('an undisputed connection answers a renewal by announcing itself again', () => {
    const takeover = new Takeover('A');
    takeover.onAnnouncing(1, 0);
    takeover.onAnnounced(from('A', 1), 1);
    expect(takeover.onAnnounced(from('B', 7, true), 1)).toBe('announce');
  });

  test('lost announcements become overdue, oldest first', () => {
    const takeover = new Takeover('A');
    takeover.onAnnouncing(1, 100);
    takeover.onAnnouncing(2, 200);
    takeover.onAnnouncing(3, 300);
    takeover.onAnnounced(from('A', 2), 2);
    expect([...takeover.overdue(250)]).toEqual([1]);
    expect([...takeover.overdue(301)]).toEqual([1, 3]);
  });

  test('a connection that the events do not have yet is announced again until it ends', () => {
    const takeover = new Takeover('A');
    takeover.onNotEntered(1);
    takeover.onNotEntered(2);
    takeover.forget(2);
    expect([...takeover.overdue(0)]).toEqual([1]);
    takeover.onAnnouncing(1, 100);
    expect([...takeover.overdue(0)]).toEqual([]);
  });

  /**
   * Goal: for every interleaving of connects, gaps and deliveries on three edges, exactly one
   * connection survives once everything is delivered.
   * Method: one channel with a total order; each edge reads it at its own pace. In a gap, an edge
   * skips the unread announcements, and then renews its connection.
   */
  test('exactly one connection of a client survives', () => {
    const names = ['A', 'B', 'C'];
    const step = fc.record({
      edge: fc.nat(2),
      what: fc.constantFrom('connect', 'read', 'read', 'read', 'gap'),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), (steps) => {
        const channel: ReturnType<typeof from>[] = [];
        const edges = names.map((name) => ({
          takeover: new Takeover(name),
          local: undefined as number | undefined,
          read: 0,
        }));
        let last = 0;
        let connected = false;
        const announce = (edge: number, renewed: boolean) => {
          const { takeover, local } = edges[edge]!;
          takeover.onAnnouncing(local!, 0);
          channel.push(from(names[edge]!, local!, renewed));
        };
        const readOne = (i: number) => {
          const edge = edges[i]!;
          const announced = channel[edge.read];
          if (announced === undefined) return false;
          edge.read++;
          const decision = edge.takeover.onAnnounced(announced, edge.local);
          if (decision === 'close') edge.local = undefined;
          else if (decision === 'announce') announce(i, false);
          return true;
        };
        for (const { edge: i, what } of steps) {
          const edge = edges[i]!;
          if (what === 'connect') {
            connected = true;
            edge.local = ++last;
            announce(i, false);
          } else if (what === 'gap') {
            edge.read = channel.length;
            if (edge.local !== undefined) announce(i, true);
          } else {
            readOne(i);
          }
        }
        for (let rounds = 0; edges.map((_, i) => readOne(i)).includes(true); rounds++) {
          expect(rounds).toBeLessThan(1_000);
        }
        const survivors = edges.filter((edge) => edge.local !== undefined);
        expect(survivors).toHaveLength(connected ? 1 : 0);
      }),
      { numRuns: 2_000 },
    );
  });
});

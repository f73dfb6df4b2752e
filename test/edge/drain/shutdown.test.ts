import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type EdgeState, Shutdown } from '../../../edge/drain/shutdown.js';

const serving: EdgeState = {
  connections: 100,
  shardsOwned: 8,
  handingOver: 0,
  notReleased: 0,
  isDraining: false,
  isRedisSilent: false,
  hasOtherEdge: true,
  isControlUp: true,
  goawaysPerSecond: 7,
  drainUntilMs: undefined,
  lastGoawayAtMs: Number.NEGATIVE_INFINITY,
};
const empty: EdgeState = { ...serving, connections: 0, shardsOwned: 0 };

const options = { drainMs: 60_000, exitWhenDrained: false };
const shutdown = (more = {}) => new Shutdown({ ...options, ...more }, 0);

function started(more = {}): Shutdown {
  const leaving = shutdown(more);
  leaving.start(0);
  return leaving;
}

describe('an edge that does not drain', () => {
  test('sends goaways at the pace of control, to clients of lost shards only', () => {
    expect(shutdown().step(1_000, serving)).toEqual({
      goawaysPerSecond: 7,
      isForAll: false,
      connectedBeforeMs: 1_000,
      rejectsGuests: false,
      isClosing: false,
      isOver: false,
    });
  });

  test('sends no goaways while control is unreachable, however long', () => {
    const idle = shutdown();
    for (const nowMs of [0, 5_000, 3_600_000]) {
      const step = idle.step(nowMs, { ...serving, isControlUp: false });
      expect(step).toMatchObject({ goawaysPerSecond: 0, isOver: false });
    }
  });

  test('does not exit because it is empty', () => {
    expect(shutdown().step(1_000, empty).isOver).toBe(false);
  });
});

describe('an edge that receives nothing from Redis', () => {
  test('sends goaways to its guests once it owns no shards, and does not exit', () => {
    const silent = { ...serving, isRedisSilent: true };
    expect(shutdown().step(1_000, silent).isForAll).toBe(false);
    const without = { ...silent, shardsOwned: 0 };
    expect(shutdown().step(1_000, without)).toMatchObject({ isForAll: true, isOver: false });
    const empty = { ...without, connections: 0 };
    expect(shutdown().step(60_000, empty).isOver).toBe(false);
  });
});

describe('an edge that an operator drains', () => {
  const draining = { ...serving, isDraining: true };

  test('sends goaways to all other clients once it owns no shards', () => {
    expect(shutdown().step(1_000, draining).isForAll).toBe(false);
    expect(shutdown().step(1_000, { ...draining, shardsOwned: 0 }).isForAll).toBe(true);
  });

  test('sends goaways only to clients that were connected when the drain began', () => {
    const emptying = shutdown();
    expect(emptying.step(1_000, draining).connectedBeforeMs).toBe(1_000);
    const later = emptying.step(9_000, { ...draining, shardsOwned: 0 });
    expect(later).toMatchObject({ isForAll: true, connectedBeforeMs: 1_000, rejectsGuests: false });
    emptying.step(10_000, serving);
    expect(emptying.step(11_000, draining).connectedBeforeMs).toBe(11_000);
  });

  test('rejects guests from the last seconds before the deadline until the drain ends', () => {
    const timed = { ...draining, drainUntilMs: 60_000 };
    const emptying = shutdown();
    expect(emptying.step(54_000, timed).rejectsGuests).toBe(false);
    const closing = emptying.step(55_000, timed);
    expect(closing).toMatchObject({ connectedBeforeMs: 55_000, rejectsGuests: true });
    expect(emptying.step(56_000, timed).connectedBeforeMs).toBe(55_000);
    expect(emptying.step(3_600_000, timed).rejectsGuests).toBe(true);
    expect(emptying.step(3_600_000, { ...timed, isDraining: false }).rejectsGuests).toBe(false);
  });

  test('exits when it is empty only with exitWhenDrained', () => {
    const drained = { ...empty, isDraining: true };
    expect(shutdown().step(1_000, drained).isOver).toBe(false);
    expect(shutdown({ exitWhenDrained: true }).step(1_000, drained).isOver).toBe(true);
  });

  test('closes the remaining clients before the deadline, and serves new ones after it', () => {
    const timed = { ...draining, drainUntilMs: 60_000 };
    expect(shutdown().step(54_000, timed).isClosing).toBe(false);
    const closing = shutdown().step(56_000, timed);
    expect(closing).toMatchObject({ isClosing: true, isForAll: true, isOver: false });
    expect(closing.goawaysPerSecond).toBeGreaterThan(25);
    expect(shutdown().step(60_000, timed).isClosing).toBe(false);
    // The deadline of an earlier drain is ignored.
    expect(shutdown().step(56_000, { ...timed, isDraining: false }).isClosing).toBe(false);
  });
});

describe('an edge after SIGTERM', () => {
  test('rejects guests at once', () => {
    const all = { connectedBeforeMs: Number.POSITIVE_INFINITY, rejectsGuests: true };
    expect(started().step(100, serving)).toMatchObject(all);
    expect(shutdown().step(100, { ...serving, isRedisSilent: true }).rejectsGuests).toBe(true);
  });

  test('exits when it is empty and the last client had time to reconnect once', () => {
    const late = { ...empty, lastGoawayAtMs: 10_000 };
    expect(started().step(11_000, late).isOver).toBe(false);
    expect(started().step(13_000, late).isOver).toBe(true);
    expect(started().step(1_000, { ...empty, connections: 1 }).isOver).toBe(false);
    expect(started().step(1_000, { ...empty, shardsOwned: 1 }).isOver).toBe(false);
    expect(started().step(1_000, { ...empty, handingOver: 1 }).isOver).toBe(false);
  });

  test('exits at once without another edge, or with a drain time of 0', () => {
    expect(started().step(0, { ...serving, hasOtherEdge: false }).isOver).toBe(true);
    expect(started({ drainMs: 0 }).step(0, serving).isOver).toBe(true);
    expect(shutdown().step(0, { ...serving, hasOtherEdge: false }).isOver).toBe(false);
  });

  test('without control, sends goaways to clients of lost shards at its own pace, and does not wait', () => {
    const alone = { ...serving, isControlUp: false };
    expect(started().step(4_000, alone).goawaysPerSecond).toBe(0);
    const step = started().step(10_000, alone);
    // 100 clients in 25 of the remaining 50 s; clients of owned shards have no other edge.
    expect(step).toMatchObject({ goawaysPerSecond: 4, isForAll: false });
    const released = { ...empty, isControlUp: false, handingOver: 3 };
    expect(started().step(10_000, released).isOver).toBe(true);
    expect(started().step(10_000, { ...released, notReleased: 1 }).isOver).toBe(false);
  });

  test('without clients and without a new leader, does not wait for its shards to move', () => {
    const leaving = started();
    const alone = { ...serving, connections: 0, isControlUp: false };
    expect(leaving.step(15_000, alone).isOver).toBe(false);
    expect(leaving.step(15_001, { ...alone, connections: 1 }).isOver).toBe(false);
    expect(leaving.step(15_001, { ...alone, lastGoawayAtMs: 14_000 }).isOver).toBe(false);
    expect(leaving.step(15_001, alone).isOver).toBe(true);
    expect(shutdown().step(15_001, alone).isOver).toBe(false);
  });

  test('uses the earlier of two deadlines', () => {
    const timed = { ...serving, isDraining: true, drainUntilMs: 30_000 };
    expect(started().step(26_000, timed).isClosing).toBe(true);
    expect(started().step(31_000, timed).isClosing).toBe(false);
    expect(started().step(56_000, timed).isClosing).toBe(true);
  });

  test('a second start does not extend the deadline', () => {
    const leaving = started();
    leaving.start(50_000);
    expect(leaving.step(60_000, serving).isOver).toBe(true);
  });

  /** For any input, it is over by its deadline, and has sent goaways to all clients by then. */
  test('is over by its deadline, without clients', () => {
    const input = fc.record({
      isControlUp: fc.boolean(),
      goawaysPerSecond: fc.oneof(fc.nat(50), fc.constant(Number.NaN)),
      shardsOwned: fc.nat(2),
      isDraining: fc.boolean(),
      drainUntilMs: fc.option(fc.integer({ min: 0, max: 40_000 }), { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.array(input, { minLength: 1 }), fc.nat(20_000), (inputs, clients) => {
        const leaving = started({ drainMs: 20_000 });
        let connections = clients;
        for (let nowMs = 0, i = 0; ; nowMs += 100, i++) {
          const state = { ...serving, ...inputs[i % inputs.length]!, connections };
          const { isOver, isClosing, goawaysPerSecond } = leaving.step(nowMs, state);
          if (isOver) break;
          expect(nowMs).toBeLessThan(20_000);
          if (isClosing) connections = Math.max(0, connections - Math.floor(goawaysPerSecond / 10));
        }
        expect(connections).toBe(0);
      }),
    );
  });
});

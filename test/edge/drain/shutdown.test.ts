import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Shutdown, type Standing } from '../../../edge/drain/shutdown.js';

const serving: Standing = {
  connections: 100,
  shardsOwned: 8,
  handingOver: 0,
  notReleased: 0,
  isDraining: false,
  startsUnsubscribed: false,
  hasRefuge: true,
  isControlUp: true,
  goawaysPerSecond: 7,
  drainUntilMs: 0,
  lastGoawayAtMs: Number.NEGATIVE_INFINITY,
};
const empty: Standing = { ...serving, connections: 0, shardsOwned: 0 };

const options = { drainMs: 60_000, exitWhenDrained: false };
const shutdown = (more = {}) => new Shutdown({ ...options, ...more }, 0);

function told(more = {}): Shutdown {
  const leaving = shutdown(more);
  leaving.leave(0);
  return leaving;
}

describe('an edge that stays', () => {
  test('lets clients go at the pace of control, and of lost shards only', () => {
    expect(shutdown().step(1_000, serving)).toEqual({
      goawaysPerSecond: 7,
      isForAll: false,
      isClosing: false,
      isOver: false,
    });
  });

  test('lets nobody go while control is away, however long', () => {
    const stays = shutdown();
    for (const nowMs of [0, 5_000, 3_600_000]) {
      const step = stays.step(nowMs, { ...serving, isControlUp: false });
      expect(step).toMatchObject({ goawaysPerSecond: 0, isOver: false });
    }
  });

  test('does not end because it is empty', () => {
    expect(shutdown().step(1_000, empty).isOver).toBe(false);
  });
});

describe('an edge that does not hear Redis', () => {
  test("lets its guests go once its shards are others', and does not end", () => {
    const deaf = { ...serving, startsUnsubscribed: true };
    expect(shutdown().step(1_000, deaf).isForAll).toBe(false);
    const without = { ...deaf, shardsOwned: 0 };
    expect(shutdown().step(1_000, without)).toMatchObject({ isForAll: true, isOver: false });
    const empty = { ...without, connections: 0 };
    expect(shutdown().step(60_000, empty).isOver).toBe(false);
  });
});

describe('an edge that an operator drains', () => {
  const draining = { ...serving, isDraining: true };

  test('lets the others go, too, once it owns nothing', () => {
    expect(shutdown().step(1_000, draining).isForAll).toBe(false);
    expect(shutdown().step(1_000, { ...draining, shardsOwned: 0 }).isForAll).toBe(true);
  });

  test('ends when it is empty only if it is set to', () => {
    const drained = { ...empty, isDraining: true };
    expect(shutdown().step(1_000, drained).isOver).toBe(false);
    expect(shutdown({ exitWhenDrained: true }).step(1_000, drained).isOver).toBe(true);
  });

  test('closes whoever is left before the deadline, and serves whoever comes after it', () => {
    const timed = { ...draining, drainUntilMs: 60_000 };
    expect(shutdown().step(54_000, timed).isClosing).toBe(false);
    const closing = shutdown().step(56_000, timed);
    expect(closing).toMatchObject({ isClosing: true, isForAll: true, isOver: false });
    expect(closing.goawaysPerSecond).toBeGreaterThan(25);
    expect(shutdown().step(60_000, timed).isClosing).toBe(false);
    // A deadline that was left behind by an earlier drain means nothing.
    expect(shutdown().step(56_000, { ...timed, isDraining: false }).isClosing).toBe(false);
  });
});

describe('an edge that is told to end', () => {
  test('ends when it is empty and whoever was told last had time to come back once', () => {
    const late = { ...empty, lastGoawayAtMs: 10_000 };
    expect(told().step(11_000, late).isOver).toBe(false);
    expect(told().step(13_000, late).isOver).toBe(true);
    expect(told().step(1_000, { ...empty, connections: 1 }).isOver).toBe(false);
    expect(told().step(1_000, { ...empty, shardsOwned: 1 }).isOver).toBe(false);
    expect(told().step(1_000, { ...empty, handingOver: 1 }).isOver).toBe(false);
  });

  test('ends at once when nobody could take its place, or when it is not to drain', () => {
    expect(told().step(0, { ...serving, hasRefuge: false }).isOver).toBe(true);
    expect(told({ drainMs: 0 }).step(0, serving).isOver).toBe(true);
    expect(shutdown().step(0, { ...serving, hasRefuge: false }).isOver).toBe(false);
  });

  test('without control, lets go who belongs elsewhere at its own pace, and waits for no word', () => {
    const alone = { ...serving, isControlUp: false };
    expect(told().step(4_000, alone).goawaysPerSecond).toBe(0);
    const step = told().step(10_000, alone);
    // 100 clients in 25 of the 50 s that are left; those of its own shards have nowhere to go.
    expect(step).toMatchObject({ goawaysPerSecond: 4, isForAll: false });
    const released = { ...empty, isControlUp: false, handingOver: 3 };
    expect(told().step(10_000, released).isOver).toBe(true);
    expect(told().step(10_000, { ...released, notReleased: 1 }).isOver).toBe(false);
  });

  test('without clients and without a new leader, does not wait for others to take its shards', () => {
    const leaving = told();
    const alone = { ...serving, connections: 0, isControlUp: false };
    expect(leaving.step(15_000, alone).isOver).toBe(false);
    expect(leaving.step(15_001, { ...alone, connections: 1 }).isOver).toBe(false);
    expect(leaving.step(15_001, { ...alone, lastGoawayAtMs: 14_000 }).isOver).toBe(false);
    expect(leaving.step(15_001, alone).isOver).toBe(true);
    expect(shutdown().step(15_001, alone).isOver).toBe(false);
  });

  test('goes by the earlier of two deadlines', () => {
    const timed = { ...serving, isDraining: true, drainUntilMs: 30_000 };
    expect(told().step(26_000, timed).isClosing).toBe(true);
    expect(told().step(31_000, timed).isClosing).toBe(false);
    expect(told().step(56_000, timed).isClosing).toBe(true);
  });

  test('being told again does not give it more time', () => {
    const leaving = told();
    leaving.leave(50_000);
    expect(leaving.step(60_000, serving).isOver).toBe(true);
  });

  /** Whatever it is told meanwhile, it ends by its deadline, and until then lets all go that are left. */
  test('is over by its deadline, with nobody left', () => {
    const word = fc.record({
      isControlUp: fc.boolean(),
      goawaysPerSecond: fc.oneof(fc.nat(50), fc.constant(Number.NaN)),
      shardsOwned: fc.nat(2),
      isDraining: fc.boolean(),
      drainUntilMs: fc.integer({ min: 0, max: 40_000 }),
    });
    fc.assert(
      fc.property(fc.array(word, { minLength: 1 }), fc.nat(20_000), (words, clients) => {
        const leaving = told({ drainMs: 20_000 });
        let connections = clients;
        for (let nowMs = 0, i = 0; ; nowMs += 100, i++) {
          const standing = { ...serving, ...words[i % words.length]!, connections };
          const { isOver, isClosing, goawaysPerSecond } = leaving.step(nowMs, standing);
          if (isOver) break;
          expect(nowMs).toBeLessThan(20_000);
          if (isClosing) connections = Math.max(0, connections - Math.floor(goawaysPerSecond / 10));
        }
        expect(connections).toBe(0);
      }),
    );
  });
});

/** Both ends of a move on an edge: shards that it acquires and shards that it hands over. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Acquiring } from '../../../edge/shards/acquiring.js';
import { HandingOver, LINGER_MS } from '../../../edge/shards/handing-over.js';

const yes = () => true;
const no = () => false;

describe('Acquiring', () => {
  test('a shard is acquired when a message has arrived since its assignment', () => {
    const acquiring = new Acquiring();
    acquiring.onMessage(3);
    acquiring.assign([3, 4]);
    expect(acquiring.acquired()).toEqual([]);
    acquiring.onMessage(3);
    expect(acquiring.acquired()).toEqual([3]);
    acquiring.assign([3, 4, 5]);
    expect(acquiring.acquired()).toEqual([3]);
  });

  test('a lost subscription voids the proof', () => {
    const acquiring = new Acquiring();
    acquiring.assign([3]);
    acquiring.onMessage(3);
    acquiring.onLost(3);
    expect(acquiring.acquired()).toEqual([]);
    expect(acquiring.takeProbes(0, yes)).toEqual([3]);
  });

  test('probes confirmed shards without proof, repeatedly', () => {
    const acquiring = new Acquiring();
    acquiring.assign([3, 4]);
    acquiring.onMessage(4);
    expect(acquiring.takeProbes(0, no)).toEqual([]);
    expect(acquiring.takeProbes(100, yes)).toEqual([3]);
    expect(acquiring.takeProbes(200, yes)).toEqual([]);
    expect(acquiring.takeProbes(600, yes)).toEqual([3]);
  });

  test('a move that ends is dropped, and the next one needs a new proof', () => {
    const acquiring = new Acquiring();
    acquiring.assign([3]);
    acquiring.onMessage(3);
    acquiring.assign([]);
    expect(acquiring.has(3)).toBe(false);
    acquiring.assign([3]);
    expect(acquiring.acquired()).toEqual([]);
  });
});

describe('HandingOver', () => {
  test('releases a shard some time after the last client from before has left', () => {
    const handingOver = new HandingOver();
    handingOver.assign([3]);
    expect(handingOver.step(0, yes)).toEqual([]);
    expect(handingOver.step(50_000, no)).toEqual([]);
    expect(handingOver.step(50_000 + LINGER_MS - 1, no)).toEqual([]);
    expect(handingOver.needsSubscription(3)).toBe(true);
    expect(handingOver.step(50_000 + LINGER_MS, no)).toEqual([3]);
    expect(handingOver.needsSubscription(3)).toBe(false);
    expect(handingOver.released()).toEqual([3]);
    // Returned once by `step`, and reported while the assignment has the move.
    expect(handingOver.step(99_000, no)).toEqual([]);
    handingOver.assign([3, 4]);
    expect(handingOver.released()).toEqual([3]);
    handingOver.assign([4]);
    expect(handingOver.released()).toEqual([]);
  });

  /**
   * Goal: a shard is released only after `LINGER_MS` without remaining clients, and then forever,
   * and an edge that restarts at any moment still releases it.
   * Method: random assignments, disconnects and restarts, with time passing.
   */
  test('never releases early, and always eventually', () => {
    const step = fc.record({
      what: fc.constantFrom('assign', 'empty', 'pass', 'restart'),
      shards: fc.uniqueArray(fc.nat(4)),
      passMs: fc.integer({ min: 0, max: LINGER_MS }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        let handingOver = new HandingOver();
        let nowMs = 0;
        let moving: number[] = [];
        /** By shard: since when no clients remain. */
        const quiet = new Map<number, number>();
        const hasRemaining = (shard: number) => !quiet.has(shard);
        for (const { what, shards, passMs } of steps) {
          if (what === 'assign') {
            for (const shard of shards) if (!moving.includes(shard)) quiet.delete(shard);
            moving = shards;
            handingOver.assign(moving);
          } else if (what === 'restart') {
            handingOver = new HandingOver();
            handingOver.assign(moving);
            for (const shard of moving) quiet.set(shard, nowMs);
          } else if (what === 'empty') {
            for (const shard of shards) if (!quiet.has(shard)) quiet.set(shard, nowMs);
          } else {
            nowMs += passMs;
          }
          handingOver.step(nowMs, hasRemaining);
          for (const shard of handingOver.released()) {
            expect(moving).toContain(shard);
            expect(nowMs - quiet.get(shard)!).toBeGreaterThanOrEqual(LINGER_MS);
          }
        }
        handingOver.step(nowMs, no);
        handingOver.step(nowMs + LINGER_MS, no);
        expect(handingOver.released().toSorted()).toEqual(moving.toSorted());
      }),
      { numRuns: 1_000 },
    );
  });
});

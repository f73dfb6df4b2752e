/** Both ends of a move as an edge has them: what it acquires and what it hands over. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Acquiring } from '../../../edge/shards/acquiring.js';
import { HandingOver, LINGER_MS } from '../../../edge/shards/handing-over.js';

const yes = () => true;
const no = () => false;

describe('Acquiring', () => {
  test('a shard is acquired when something was heard since it was assigned', () => {
    const acquiring = new Acquiring();
    acquiring.heard(3);
    acquiring.assign([3, 4]);
    expect(acquiring.acquired()).toEqual([]);
    acquiring.heard(3);
    expect(acquiring.acquired()).toEqual([3]);
    acquiring.assign([3, 4, 5]);
    expect(acquiring.acquired()).toEqual([3]);
  });

  test('a lost subscription takes the proof back', () => {
    const acquiring = new Acquiring();
    acquiring.assign([3]);
    acquiring.heard(3);
    acquiring.lost(3);
    expect(acquiring.acquired()).toEqual([]);
    expect(acquiring.toProbe(0, yes)).toEqual([3]);
  });

  test('probes what is confirmed and not proven, again after a while', () => {
    const acquiring = new Acquiring();
    acquiring.assign([3, 4]);
    acquiring.heard(4);
    expect(acquiring.toProbe(0, no)).toEqual([]);
    expect(acquiring.toProbe(100, yes)).toEqual([3]);
    expect(acquiring.toProbe(200, yes)).toEqual([]);
    expect(acquiring.toProbe(600, yes)).toEqual([3]);
  });

  test('a move that ends is forgotten, and proven anew when there is another', () => {
    const acquiring = new Acquiring();
    acquiring.assign([3]);
    acquiring.heard(3);
    acquiring.assign([]);
    expect(acquiring.has(3)).toBe(false);
    acquiring.assign([3]);
    expect(acquiring.acquired()).toEqual([]);
  });
});

describe('HandingOver', () => {
  test('is released when nobody of before is left, and a while later', () => {
    const handingOver = new HandingOver();
    handingOver.assign([3]);
    expect(handingOver.step(0, yes)).toEqual([]);
    expect(handingOver.step(50_000, no)).toEqual([]);
    expect(handingOver.step(50_000 + LINGER_MS - 1, no)).toEqual([]);
    expect(handingOver.keeps(3)).toBe(true);
    expect(handingOver.step(50_000 + LINGER_MS, no)).toEqual([3]);
    expect(handingOver.keeps(3)).toBe(false);
    expect(handingOver.released()).toEqual([3]);
    // Said once to whoever steps, and reported for as long as the table has it.
    expect(handingOver.step(99_000, no)).toEqual([]);
    handingOver.assign([3, 4]);
    expect(handingOver.released()).toEqual([3]);
    handingOver.assign([4]);
    expect(handingOver.released()).toEqual([]);
  });

  /**
   * Goal: a shard is released only when nobody was awaited for all of the linger, and then for ever;
   * and an edge that starts anew at any moment still comes to its end.
   * Method: random tables, ends of clients and restarts, with time passing.
   */
  test('never releases before its time, and always in the end', () => {
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
        /** Shard → since when nobody is awaited. */
        const quiet = new Map<number, number>();
        const isAwaited = (shard: number) => !quiet.has(shard);
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
          handingOver.step(nowMs, isAwaited);
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

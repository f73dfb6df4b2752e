import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { GoawayQueue } from '../../../edge/drain/goaway-queue.js';

const queueOver = (here: Set<number>) => new GoawayQueue((connection) => here.has(connection));

describe('GoawayQueue', () => {
  test('takes those of lost shards first, shard by shard, then the others', () => {
    const queue = queueOver(new Set([1, 2, 3, 4]));
    queue.loseAll([1, 2, 3, 4]);
    queue.lose(7, [1]);
    queue.lose(5, [3]);
    expect(queue.count()).toBe(4);
    expect([queue.take(), queue.take()]).toEqual([1, 3]);
    expect(queue.isEmpty).toBe(false);
  });

  test('what is ours again, or may stay, is not taken', () => {
    const queue = queueOver(new Set([1, 2, 3]));
    queue.lose(7, [1]);
    queue.lose(8, [2]);
    queue.regain(7);
    expect(queue.take()).toBe(2);
    queue.loseAll([3]);
    queue.keepOthers();
    expect(queue.take()).toBeUndefined();
  });

  /**
   * Goal: whatever happens in whatever order, exactly those are taken who were here when their shard
   * was lost, are still here, and whose shard has not come back; each once.
   * Method: random losses, returns, ends and takes, beside a model of plain sets.
   */
  test('takes whom a model takes', () => {
    const step = fc.record({
      what: fc.constantFrom('connect', 'lose', 'regain', 'end', 'take', 'take'),
      shard: fc.nat(3),
      which: fc.nat(20),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const here = new Map<number, number>();
        const waiting = new Map<number, number>();
        const isHere = (connection: number) => here.has(connection);
        const queue = new GoawayQueue(isHere);
        let last = 0;
        for (const { what, shard, which } of steps) {
          const ofShard = [...here].filter(([, of]) => of === shard).map(([one]) => one);
          if (what === 'connect') here.set(++last, shard);
          if (what === 'lose') {
            // As it is lost once until it is ours again.
            if ([...waiting.values()].includes(shard)) continue;
            queue.lose(shard, ofShard);
            for (const connection of ofShard) waiting.set(connection, shard);
          }
          if (what === 'regain') {
            queue.regain(shard);
            for (const [connection, of] of waiting) if (of === shard) waiting.delete(connection);
          }
          if (what === 'end') {
            here.delete(which);
            waiting.delete(which);
          }
          if (what === 'take') {
            const taken = queue.take();
            if (taken === undefined) expect(waiting.size).toBe(0);
            else expect(waiting.delete(taken)).toBe(true);
            // Whoever was told to go ends.
            if (taken !== undefined) here.delete(taken);
          }
          expect(queue.count()).toBe(waiting.size);
          expect(queue.isEmpty).toBe(waiting.size === 0);
          for (let of = 0; of < 4; of++) {
            expect(queue.isAwaited(of)).toBe([...waiting.values()].includes(of));
          }
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

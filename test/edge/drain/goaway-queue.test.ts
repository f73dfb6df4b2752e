import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { GoawayQueue } from '../../../edge/drain/goaway-queue.js';

const queueOver = (open: Set<number>) => new GoawayQueue((connection) => open.has(connection));

describe('GoawayQueue', () => {
  test('takes the clients of lost shards first, shard by shard, then the others', () => {
    const queue = queueOver(new Set([1, 2, 3, 4]));
    queue.addOthers([1, 2, 3, 4]);
    queue.addShard(7, [1]);
    queue.addShard(5, [3]);
    expect(queue.count()).toBe(4);
    expect([queue.take(), queue.take()]).toEqual([1, 3]);
    expect(queue.isEmpty).toBe(false);
  });

  test('does not take clients of a shard that is owned again, or others that may stay', () => {
    const queue = queueOver(new Set([1, 2, 3]));
    queue.addShard(7, [1]);
    queue.addShard(8, [2]);
    queue.removeShard(7);
    expect(queue.take()).toBe(2);
    queue.addOthers([3]);
    queue.removeOthers();
    expect(queue.take()).toBeUndefined();
  });

  /**
   * Goal: in any order of events, exactly those connections are taken that were open when their
   * shard was lost, are still open, and whose shard is not owned again; each once.
   * Method: random losses, returns, closes and takes, compared with a model of plain sets.
   */
  test('takes the connections that a model takes', () => {
    const step = fc.record({
      what: fc.constantFrom('connect', 'lose', 'regain', 'close', 'take', 'take'),
      shard: fc.nat(3),
      which: fc.nat(20),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const open = new Map<number, number>();
        const queued = new Map<number, number>();
        const isOpen = (connection: number) => open.has(connection);
        const queue = new GoawayQueue(isOpen);
        let last = 0;
        for (const { what, shard, which } of steps) {
          const ofShard = [...open].filter(([, of]) => of === shard).map(([one]) => one);
          if (what === 'connect') open.set(++last, shard);
          if (what === 'lose') {
            // A shard is lost only once until it is owned again.
            if ([...queued.values()].includes(shard)) continue;
            queue.addShard(shard, ofShard);
            for (const connection of ofShard) queued.set(connection, shard);
          }
          if (what === 'regain') {
            queue.removeShard(shard);
            for (const [connection, of] of queued) if (of === shard) queued.delete(connection);
          }
          if (what === 'close') {
            open.delete(which);
            queued.delete(which);
          }
          if (what === 'take') {
            const taken = queue.take();
            if (taken === undefined) expect(queued.size).toBe(0);
            else expect(queued.delete(taken)).toBe(true);
            // A connection ends after its goaway.
            if (taken !== undefined) open.delete(taken);
          }
          expect(queue.count()).toBe(queued.size);
          expect(queue.isEmpty).toBe(queued.size === 0);
          for (let of = 0; of < 4; of++) {
            expect(queue.hasRemaining(of)).toBe([...queued.values()].includes(of));
          }
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type PushOrder, Sequences } from '../../../edge/shards/sequences.js';

const idOf = (seq: number) => `${1_000 + seq}-0`;

describe('Sequences', () => {
  test('the first push after a subscription proves nothing, the next one must follow it', () => {
    const sequences = new Sequences(1);
    expect(sequences.onPush(0, 17, idOf(17))).toBe('next');
    expect(sequences.onPush(0, 18, idOf(18))).toBe('next');
    expect(sequences.onPush(0, 20, idOf(20))).toBe('gap');
    expect(sequences.onPush(0, 21, idOf(21))).toBe('next');
  });

  test('a lost last push shows at the second poll of the counter', () => {
    const sequences = new Sequences(1);
    sequences.onPush(0, 5, idOf(5));
    expect(sequences.onCounter(0, 6)).toBe(true);
    expect(sequences.onCounter(0, 6)).toBe(false);
    expect(sequences.onCounter(0, 6)).toBe(true);
  });

  test('a push that the first poll has overtaken is no gap', () => {
    const sequences = new Sequences(1);
    sequences.onPush(0, 5, idOf(5));
    expect(sequences.onCounter(0, 6)).toBe(true);
    expect(sequences.onPush(0, 6, idOf(6))).toBe('next');
    expect(sequences.onCounter(0, 7)).toBe(true);
    expect(sequences.onPush(0, 7, idOf(7))).toBe('next');
    expect(sequences.onCounter(0, 7)).toBe(true);
  });

  test('the first counter read is where numbers start', () => {
    const sequences = new Sequences(2);
    expect(sequences.onCounter(1, 9)).toBe(true);
    expect(sequences.onPush(1, 11, idOf(11))).toBe('gap');
    expect(sequences.onPush(0, 1, idOf(1))).toBe('next');
  });

  test('pushes that the first counter read has overtaken are no gap, unless one is missing', () => {
    const sequences = new Sequences(2);
    for (const shard of [0, 1]) {
      expect(sequences.onCounter(shard, 9)).toBe(true);
      expect(sequences.onPush(shard, 8, idOf(8))).toBe('next');
    }
    expect(sequences.onPush(0, 9, idOf(9))).toBe('next');
    expect(sequences.onPush(0, 10, idOf(10))).toBe('next');
    expect(sequences.onPush(1, 10, idOf(10))).toBe('gap');
  });

  test('when Redis has lost writes, numbers start again where they are assigned again', () => {
    const sequences = new Sequences(2);
    for (const shard of [0, 1]) {
      expect(sequences.onCounter(shard, 9)).toBe(true);
      expect(sequences.onCounter(shard, 12)).toBe(true);
      sequences.restart(shard, 4);
    }
    expect(sequences.onPush(0, 6, idOf(6))).toBe('gap');
    expect(sequences.onPush(1, 5, idOf(5))).toBe('next');
    expect(sequences.onCounter(1, 5)).toBe(true);
  });

  test('a lost subscription resets the numbers', () => {
    const sequences = new Sequences(1);
    sequences.onPush(0, 5, idOf(5));
    sequences.forget(0);
    expect(sequences.onPush(0, 9, idOf(9))).toBe('next');
  });

  test('finds every silent loss, and nothing else, after two polls', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('arrives', 'is lost'), { maxLength: 30 }), (pushes) => {
        const sequences = new Sequences(1);
        sequences.onCounter(0, 0);
        let isFound = false;
        for (const [i, fate] of pushes.entries()) {
          if (fate === 'arrives' && sequences.onPush(0, i + 1, idOf(i + 1)) === 'gap')
            isFound = true;
        }
        for (let polls = 0; polls < 2; polls++) {
          if (!sequences.onCounter(0, pushes.length)) isFound = true;
        }
        expect(isFound).toBe(pushes.includes('is lost'));
      }),
    );
  });

  test('a number with another id proves that Redis has lost writes', () => {
    const sequences = new Sequences(1);
    sequences.onPush(0, 5, idOf(5));
    sequences.onPush(0, 6, idOf(6));
    sequences.onCounter(0, 8);
    expect(sequences.highest(0)).toBe(8);
    // The counter has overtaken this push.
    expect(sequences.onPush(0, 7, idOf(7))).toBe('next');
    expect(sequences.onPush(0, 6, '2000-0')).toBe('reassigned');
    expect(sequences.highest(0)).toBe(6);
    // Nothing is known of the numbers that are assigned again.
    expect(sequences.onPush(0, 7, '2000-1')).toBe('next');
    expect(sequences.onPush(0, 7, '2000-2')).toBe('reassigned');
  });

  test('a number with the same id is a duplicate, also after a lost subscription', () => {
    const sequences = new Sequences(1);
    for (const seq of [5, 6, 7]) sequences.onPush(0, seq, idOf(seq));
    expect(sequences.onPush(0, 7, idOf(7))).toBe('duplicate');
    expect(sequences.onPush(0, 5, idOf(5))).toBe('duplicate');
    expect(sequences.onPush(0, 8, idOf(8))).toBe('next');
    sequences.forget(0);
    expect(sequences.onPush(0, 6, idOf(6))).toBe('duplicate');
    expect(sequences.onPush(0, 6, '2000-0')).toBe('reassigned');
  });

  test('a lower number of which nothing is known proves nothing, and changes nothing', () => {
    const sequences = new Sequences(1);
    sequences.onPush(0, 5, idOf(5));
    expect(sequences.onPush(0, 7, idOf(7))).toBe('gap');
    expect(sequences.onPush(0, 6, idOf(6))).toBe('late');
    expect(sequences.onPush(0, 6, idOf(6))).toBe('duplicate');
    expect(sequences.highest(0)).toBe(7);
    expect(sequences.onPush(0, 8, idOf(8))).toBe('next');
    // Longer ago than what is remembered.
    for (let seq = 9; seq < 100; seq++) sequences.onPush(0, seq, idOf(seq));
    expect(sequences.onPush(0, 5, '2000-0')).toBe('late');
    expect(sequences.highest(0)).toBe(99);
    expect(sequences.onPush(0, 100, idOf(100))).toBe('next');
  });

  test('no order in which two servers deliver the same pushes proves a loss', () => {
    const pushes = fc.integer({ min: 1, max: 40 });
    fc.assert(
      fc.property(pushes, fc.infiniteStream(fc.boolean()), (count, choices) => {
        const sequences = new Sequences(1);
        const next: [number, number] = [1, 1];
        const fresh = new Set<number>();
        const orders: PushOrder[] = [];
        while (Math.min(...next) <= count) {
          const wished = choices.next().value ? 0 : 1;
          const server = next[wished] <= count ? wished : 1 - wished;
          const seq = next[server as 0 | 1]++;
          const order = sequences.onPush(0, seq, idOf(seq));
          orders.push(order);
          if (order === 'next' || order === 'gap') fresh.add(seq);
        }
        expect(orders).not.toContain('reassigned');
        expect(orders).not.toContain('gap');
        expect(fresh.size).toBe(count);
      }),
    );
  });
});

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Sequences } from '../../../edge/shards/sequences.js';

describe('Sequences', () => {
  test('the first push after a subscription proves nothing, the next one must follow it', () => {
    const sequences = new Sequences(1);
    expect(sequences.onPush(0, 17)).toBe(true);
    expect(sequences.onPush(0, 18)).toBe(true);
    expect(sequences.onPush(0, 20)).toBe(false);
    expect(sequences.onPush(0, 21)).toBe(true);
  });

  test('a repeated number is a gap: Redis has lost writes', () => {
    const sequences = new Sequences(1);
    sequences.onPush(0, 5);
    expect(sequences.onPush(0, 3)).toBe(false);
    expect(sequences.onPush(0, 4)).toBe(true);
  });

  test('a lost last push shows at the second poll of the counter', () => {
    const sequences = new Sequences(1);
    sequences.onPush(0, 5);
    expect(sequences.onCounter(0, 6)).toBe(true);
    expect(sequences.onCounter(0, 6)).toBe(false);
    expect(sequences.onCounter(0, 6)).toBe(true);
  });

  test('a push that the first poll has overtaken is no gap', () => {
    const sequences = new Sequences(1);
    sequences.onPush(0, 5);
    expect(sequences.onCounter(0, 6)).toBe(true);
    expect(sequences.onPush(0, 6)).toBe(true);
    expect(sequences.onCounter(0, 7)).toBe(true);
    expect(sequences.onPush(0, 7)).toBe(true);
    expect(sequences.onCounter(0, 7)).toBe(true);
  });

  test('the first counter read is where numbers start', () => {
    const sequences = new Sequences(2);
    expect(sequences.onCounter(1, 9)).toBe(true);
    expect(sequences.onPush(1, 11)).toBe(false);
    expect(sequences.onPush(0, 1)).toBe(true);
  });

  test('a lost subscription resets the numbers', () => {
    const sequences = new Sequences(1);
    sequences.onPush(0, 5);
    sequences.forget(0);
    expect(sequences.onPush(0, 9)).toBe(true);
  });

  test('finds every silent loss, and nothing else, after two polls', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('arrives', 'is lost'), { maxLength: 30 }), (pushes) => {
        const sequences = new Sequences(1);
        sequences.onCounter(0, 0);
        let isFound = false;
        for (const [i, fate] of pushes.entries()) {
          if (fate === 'arrives' && !sequences.onPush(0, i + 1)) isFound = true;
        }
        for (let polls = 0; polls < 2; polls++) {
          if (!sequences.onCounter(0, pushes.length)) isFound = true;
        }
        expect(isFound).toBe(pushes.includes('is lost'));
      }),
    );
  });

  test('a number that Redis has assigned before proves that it has lost writes', () => {
    const sequences = new Sequences(1);
    sequences.onPush(0, 5);
    sequences.onCounter(0, 7);
    expect(sequences.highest(0)).toBe(7);
    // The counter has overtaken these pushes.
    expect(sequences.provesLoss(0, 6)).toBe(false);
    expect(sequences.provesLoss(0, 5)).toBe(true);
    sequences.forget(0);
    expect(sequences.provesLoss(0, 5)).toBe(true);
    sequences.restart(0, 2);
    expect(sequences.highest(0)).toBe(2);
    expect(sequences.provesLoss(0, 3)).toBe(false);
  });
});

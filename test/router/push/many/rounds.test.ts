import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Rounds } from '../../../../router/push/many/rounds.js';

test('every item is taken once, in the order of its group, and no part mixes groups', () => {
  const sizes = fc.array(fc.nat(20), { maxLength: 8 });
  const parts = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 10 });
  fc.assert(
    fc.property(sizes, parts, (groupSizes, maxima) => {
      const groups = groupSizes.map((size, group) =>
        Array.from({ length: size }, (_, index) => ({ group, index })),
      );
      const rounds = new Rounds(groups);
      const taken = groups.map((): number[] => []);
      let left = groups.flat().length;
      for (let i = 0; ; i++) {
        expect(rounds.left).toBe(left);
        const max = maxima[i % maxima.length]!;
        const part = rounds.next(max);
        if (part === undefined) break;
        left -= part.length;
        expect(part.length).toBeGreaterThan(0);
        expect(part.length).toBeLessThanOrEqual(max);
        expect(new Set(part.map(({ group }) => group)).size).toBe(1);
        for (const { group, index } of part) taken[group]!.push(index);
      }
      expect(taken).toEqual(groups.map((group) => group.map(({ index }) => index)));
    }),
  );
});

test('groups take turns', () => {
  const rounds = new Rounds([['a1', 'a2', 'a3'], ['b1'], ['c1', 'c2']]);
  const order = Array.from({ length: 6 }, () => rounds.next(1)![0]);
  expect(order).toEqual(['a1', 'b1', 'c1', 'a2', 'c2', 'a3']);
  expect(rounds.next(1)).toBeUndefined();
});

import { expect, test } from '@jest/globals';
import { seeded, shuffled } from '../../../drill/faults/random.js';
import { digestOf, makePayload, numberOf } from '../../../drill/load/payload.js';

test('a payload says which push it is, and is about as long as asked', () => {
  const payload = makePayload({ clientId: 'device-7', number: 42 }, 1_000);
  expect(numberOf(payload.toString())).toBe(42);
  expect(payload.length).toBeGreaterThanOrEqual(1_000);
  expect(payload.length).toBeLessThan(1_050);
  expect(digestOf(payload)).toBe(digestOf(payload.toString()));
});

test('two pushes never have the same payload, nor two clients', () => {
  const digests = [1, 2].flatMap((number) =>
    ['a', 'b'].map((clientId) => digestOf(makePayload({ clientId, number }, 0))),
  );
  expect(new Set(digests).size).toBe(4);
});

test('what is no payload of ours has no number', () => {
  for (const text of ['', '12', 'x 1 ', '1 ', '-1 a ']) expect(numberOf(text)).toBeUndefined();
});

test('the same seed gives the same numbers, which are spread over [0, 1)', () => {
  const [a, b] = [seeded(7), seeded(7)];
  const numbers = Array.from({ length: 10_000 }, a);
  expect(numbers).toEqual(Array.from({ length: 10_000 }, b));
  const mean = numbers.reduce((sum, number) => sum + number) / numbers.length;
  expect(Math.abs(mean - 0.5)).toBeLessThan(0.02);
  expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...numbers)).toBeLessThan(1);
  expect(shuffled(a, [1, 2, 3, 4]).sort()).toEqual([1, 2, 3, 4]);
});

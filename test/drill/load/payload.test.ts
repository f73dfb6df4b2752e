import { expect, test } from '@jest/globals';
import { seeded, shuffled } from '../../../drill/faults/random.js';
import { digestOf, makePayload, numberOf, splitPayloads } from '../../../drill/load/payload.js';

test('a payload has the number of the push and about the requested size', () => {
  const payload = makePayload({ clientId: 'device-7', number: 42 }, 1_000);
  expect(numberOf(payload.toString())).toBe(42);
  expect(payload.length).toBeGreaterThanOrEqual(1_000);
  expect(payload.length).toBeLessThan(1_050);
  expect(digestOf(payload)).toBe(digestOf(payload.toString()));
});

test('payloads differ between pushes and between clients', () => {
  const digests = [1, 2].flatMap((number) =>
    ['a', 'b'].map((clientId) => digestOf(makePayload({ clientId, number }, 0))),
  );
  expect(new Set(digests).size).toBe(4);
});

test('joined payloads are split', () => {
  const payloads = [1, 2, 3].map((number) =>
    makePayload({ clientId: 'device-7', number }, number * 40).toString(),
  );
  expect(splitPayloads(payloads.join(''))).toEqual(payloads);
  expect(splitPayloads('')).toEqual(['']);
  expect(splitPayloads(`${payloads[0]}cut`)).toEqual([payloads[0], 'cut']);
});

test('text that is not a payload of the drill has no number', () => {
  for (const text of ['', '12', 'x 1 ', '1 ', '-1 a ']) expect(numberOf(text)).toBeUndefined();
});

test('the same seed gives the same numbers, spread over [0, 1)', () => {
  const [a, b] = [seeded(7), seeded(7)];
  const numbers = Array.from({ length: 10_000 }, a);
  expect(numbers).toEqual(Array.from({ length: 10_000 }, b));
  const mean = numbers.reduce((sum, number) => sum + number) / numbers.length;
  expect(Math.abs(mean - 0.5)).toBeLessThan(0.02);
  expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...numbers)).toBeLessThan(1);
  expect(shuffled(a, [1, 2, 3, 4]).sort()).toEqual([1, 2, 3, 4]);
});

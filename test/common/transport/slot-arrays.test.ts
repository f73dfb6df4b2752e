import { expect, test } from '@jest/globals';
import { ensureSlot, FIRST_SLOTS } from '../../../common/transport/slot-arrays.js';

test('returns an array that has the slot as it is', () => {
  const array = new Uint16Array(FIRST_SLOTS);
  expect(ensureSlot(array, FIRST_SLOTS - 1)).toBe(array);
});

test.each([Uint8Array, Uint16Array, Uint32Array, Float64Array])(
  'returns a longer array of the same type with the same elements, and zeros after them: %p',
  (TypedArray) => {
    const array = new TypedArray(FIRST_SLOTS).fill(7);
    const longer = ensureSlot(array, FIRST_SLOTS);
    expect(longer).toBeInstanceOf(TypedArray);
    expect(longer).toHaveLength(2 * FIRST_SLOTS);
    expect(longer.indexOf(0)).toBe(FIRST_SLOTS);
    expect(longer.lastIndexOf(7)).toBe(FIRST_SLOTS - 1);
  },
);

test('grows from empty to the first length, and at once to a slot far beyond', () => {
  const empty = new Uint8Array();
  expect(ensureSlot(empty, 0)).toHaveLength(FIRST_SLOTS);
  expect(ensureSlot(empty, 100_000)).toHaveLength(100_001);
});

test('growth slot by slot copies fewer than two elements per slot', () => {
  const slots = 100_000;
  let copied = 0;
  let array = new Uint8Array();
  for (let slot = 0; slot < slots; slot++) {
    const longer = ensureSlot(array, slot);
    if (longer !== array) copied += array.length;
    array = longer;
  }
  expect(copied).toBeLessThan(2 * slots);
});

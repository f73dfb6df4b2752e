/**
 * Growth of typed arrays that hold state per connection, indexed by the transport's slot. The
 * transport reuses a free slot before it adds one, so the highest slot is bounded by the largest
 * number of connections that were open at once.
 */

/** Initial length of an array by slot. */
export const FIRST_SLOTS = 1024;

/** A typed array; its constructor makes one of a given length, filled with zeros. */
interface TypedArray {
  readonly length: number;
  set(from: this): void;
}

/**
 * Returns `array` if it has the index `slot`, otherwise a copy with room for it. The copy is at
 * least twice as long, so that growth to n slots copies fewer than 2n elements in all; new elements
 * are 0.
 */
export function ensureSlot<A extends TypedArray>(array: A, slot: number): A {
  if (slot < array.length) return array;
  const TypedArrayOfSameKind = array.constructor as new (length: number) => A;
  const copy = new TypedArrayOfSameKind(Math.max(slot + 1, 2 * array.length, FIRST_SLOTS));
  copy.set(array);
  return copy;
}

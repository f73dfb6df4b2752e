import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isIntactEntry, pushChecksum } from '../../../../common/cluster/history/checksums.js';

const clientIds = fc.string({ minLength: 1, unit: 'grapheme' });
const contentTypes = fc.constantFrom('', 'text/plain', 'application/json');

function entry(clientId: string, contentType: string, payload: Uint8Array): Buffer[] {
  const [expiry, bytes] = [1_795_386_433_482, 12_345];
  const sum = pushChecksum(clientId, contentType, payload) + expiry + bytes;
  const values = [payload, `${expiry}`, `${bytes}`, contentType, `${sum}`];
  return values.flatMap((value, i) => [Buffer.from('pxbcs'[i]!), Buffer.from(value as string)]);
}

/** Flips one bit, chosen by `at`, in one of the buffers. */
function flip(buffers: readonly Buffer[], at: number): Buffer[] {
  const bits = buffers.reduce((sum, { length }) => sum + 8 * length, 0);
  let bit = at % bits;
  return buffers.map((buffer) => {
    const copy = Buffer.from(buffer);
    if (bit >= 0 && bit < 8 * copy.length) copy[bit >> 3]! ^= 1 << (bit & 7);
    bit -= 8 * copy.length;
    return copy;
  });
}

describe('an entry', () => {
  test('is intact as it was stored, for its client only', () => {
    fc.assert(
      fc.property(clientIds, contentTypes, fc.uint8Array(), (clientId, contentType, payload) => {
        const fields = entry(clientId, contentType, payload);
        expect(isIntactEntry(clientId, fields)).toBe(true);
        expect(isIntactEntry(`${clientId}2`, fields)).toBe(false);
      }),
    );
  });

  test('with an empty payload is intact, wherever that payload is', () => {
    for (const payload of [new Uint8Array(new ArrayBuffer(0)), Buffer.alloc(1).subarray(1)]) {
      expect(pushChecksum('a', '', payload)).toBe(pushChecksum('a', '', Buffer.from('')));
      expect(isIntactEntry('a', entry('a', '', payload))).toBe(true);
    }
  });

  test('with any one bit flipped is not', () => {
    fc.assert(
      fc.property(clientIds, contentTypes, fc.uint8Array(), fc.nat(), (id, type, payload, at) => {
        expect(isIntactEntry(id, flip(entry(id, type, payload), at))).toBe(false);
      }),
      { numRuns: 2_000 },
    );
  });

  test('of an earlier version is accepted if its fields are complete', () => {
    const fields = entry('alice', 'text/plain', Buffer.from('p'));
    expect(isIntactEntry('alice', fields.slice(0, 6))).toBe(true);
    expect(isIntactEntry('alice', fields.slice(0, 8))).toBe(true);
    for (const length of [0, 1, 2, 3, 4, 5]) {
      expect(isIntactEntry('alice', fields.slice(0, length))).toBe(false);
    }
    expect(isIntactEntry('alice', [...fields, Buffer.from('z'), Buffer.from('')])).toBe(false);
    expect(isIntactEntry('alice', fields.with(3, Buffer.from('soon')).slice(0, 6))).toBe(false);
  });
});

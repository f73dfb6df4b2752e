import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { connectionOf } from '../../../common/transport/transport.js';
import { Splices } from '../../../router/front/splices.js';

test('finds a splice by either connection, until it is removed', () => {
  const splices = new Splices();
  const [device, upstream] = [connectionOf(3, 7), connectionOf(5_000, 1)];
  splices.add(device, upstream, 0);
  expect(splices.find(device)).toEqual({ device, upstream, edge: 0 });
  expect(splices.find(upstream)).toEqual({ device, upstream, edge: 0 });
  // The same slots in other generations.
  expect(splices.find(connectionOf(3, 6))).toBeUndefined();
  expect(splices.find(connectionOf(5_000, 2))).toBeUndefined();
  expect(splices.find(connectionOf(9_999, 1))).toBeUndefined();
  splices.remove(splices.find(upstream)!);
  expect(splices.find(device)).toBeUndefined();
  expect(splices.count).toBe(0);
});

test('agrees with a Map after random additions and removals', () => {
  const slotAndEdge = fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 3 }));
  fc.assert(
    fc.property(fc.array(slotAndEdge, { maxLength: 60 }), (steps) => {
      const splices = new Splices();
      const model = new Map<number, { upstream: number; edge: number }>();
      for (const [i, [slot, edge]] of steps.entries()) {
        // Devices use the even slots, their upstream connections the odd ones.
        const existing = [...model].find(([device]) => device % 2 ** 24 === 2 * slot);
        if (existing === undefined) {
          const device = connectionOf(2 * slot, i + 1);
          const upstream = connectionOf(2 * slot + 1, i + 1);
          splices.add(device, upstream, edge);
          model.set(device, { upstream, edge });
        } else {
          splices.remove(splices.find(i % 2 === 0 ? existing[0] : existing[1].upstream)!);
          model.delete(existing[0]);
        }
        expect(splices.count).toBe(model.size);
        expect(splices.devicesOf(undefined).toSorted()).toEqual([...model.keys()].toSorted());
        const ofEdge = [...model].filter(([, splice]) => splice.edge === edge).map(([d]) => d);
        expect(splices.devicesOf(edge).toSorted()).toEqual(ofEdge.toSorted());
      }
    }),
  );
});

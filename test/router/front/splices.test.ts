import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { connectionOf } from '../../../common/transport/transport.js';
import { FrontPipes } from '../../../router/front/splices.js';

test('finds a pipe by either end, until it is removed', () => {
  const pipes = new FrontPipes();
  const [device, upstream] = [connectionOf(3, 7), connectionOf(5_000, 1)];
  pipes.add(device, upstream, 0);
  expect(pipes.find(device)).toEqual({ device, upstream, edge: 0 });
  expect(pipes.find(upstream)).toEqual({ device, upstream, edge: 0 });
  // The same slots at other times.
  expect(pipes.find(connectionOf(3, 6))).toBeUndefined();
  expect(pipes.find(connectionOf(5_000, 2))).toBeUndefined();
  expect(pipes.find(connectionOf(9_999, 1))).toBeUndefined();
  pipes.remove(pipes.find(upstream)!);
  expect(pipes.find(device)).toBeUndefined();
  expect(pipes.count).toBe(0);
});

test('keeps apart what a Map would, at random', () => {
  const ends = fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 3 }));
  fc.assert(
    fc.property(fc.array(ends, { maxLength: 60 }), (steps) => {
      const pipes = new FrontPipes();
      const model = new Map<number, { upstream: number; edge: number }>();
      for (const [i, [slot, edge]] of steps.entries()) {
        // Devices have even slots, their connections to edges the odd ones beside them.
        const known = [...model].find(([device]) => device % 2 ** 24 === 2 * slot);
        if (known === undefined) {
          const device = connectionOf(2 * slot, i + 1);
          const upstream = connectionOf(2 * slot + 1, i + 1);
          pipes.add(device, upstream, edge);
          model.set(device, { upstream, edge });
        } else {
          pipes.remove(pipes.find(i % 2 === 0 ? known[0] : known[1].upstream)!);
          model.delete(known[0]);
        }
        expect(pipes.count).toBe(model.size);
        expect(pipes.devicesOf(undefined).toSorted()).toEqual([...model.keys()].toSorted());
        const ofEdge = [...model].filter(([, { edge: its }]) => its === edge).map(([d]) => d);
        expect(pipes.devicesOf(edge).toSorted()).toEqual(ofEdge.toSorted());
      }
    }),
  );
});

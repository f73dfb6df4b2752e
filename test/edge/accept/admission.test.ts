import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Assignment, NO_OWNER } from '../../../common/cluster/assignment.js';
import { admit } from '../../../edge/accept/admission.js';

const EDGES = ['a', 'b', 'c'];

function assignmentAt(epoch: number, owner: number): Assignment {
  return {
    position: { incarnation: 1, epoch },
    edges: EDGES.map((id) => ({
      id,
      incarnation: id,
      advertisedUrl: `http://${id}`,
      intent: 'none',
    })),
    owners: Uint16Array.of(owner),
    moves: [],
    isBalancing: false,
  };
}

test('the owner serves, and so does every edge while the shard has no owner', () => {
  expect(admit(assignmentAt(1, 0), 'a', 0, undefined).type).toBe('serve');
  expect(admit(assignmentAt(1, NO_OWNER), 'a', 0, undefined).type).toBe('serve');
  expect(admit(undefined, 'a', 0, undefined).type).toBe('serve');
});

test('another edge redirects a device that was not sent there', () => {
  expect(admit(assignmentAt(1, 1), 'a', 0, undefined)).toMatchObject({
    type: 'redirect',
    owner: { id: 'b' },
  });
});

test('a device sent here under the same or a newer assignment is a guest', () => {
  for (const epoch of [5, 6]) {
    expect(admit(assignmentAt(5, 1), 'a', 0, { incarnation: 1, epoch }).type).toBe('serve');
  }
});

test('a device sent here under an older assignment is redirected again', () => {
  expect(admit(assignmentAt(5, 1), 'a', 0, { incarnation: 1, epoch: 4 }).type).toBe('redirect');
});

test('edges with different assignments never redirect a device in a circle', () => {
  // Every edge has an assignment of its own; a device follows every redirect.
  const assignments = fc.tuple(
    ...EDGES.map(() => fc.record({ epoch: fc.nat(5), owner: fc.nat(2) })),
  );
  fc.assert(
    fc.property(assignments, fc.nat(2), (views, start) => {
      let at = start;
      let routedUnder: Assignment['position'] | undefined;
      for (let hops = 0; ; hops++) {
        expect(hops).toBeLessThanOrEqual(EDGES.length);
        const view = assignmentAt(views[at]!.epoch, views[at]!.owner);
        const admission = admit(view, EDGES[at]!, 0, routedUnder);
        if (admission.type === 'serve') return;
        routedUnder = view.position;
        at = EDGES.indexOf(admission.owner.id);
      }
    }),
  );
});

/** Decides whether this edge serves a device or redirects it. Pure. */

import { type AssignedEdge, type Assignment, ownerOf } from '../../common/cluster/assignment.js';
import { comparePositions, type Position } from '../../common/wire/position.js';

export type Admission = { type: 'serve' } | { type: 'redirect'; owner: AssignedEdge };

const SERVE: Admission = { type: 'serve' };

/**
 * The owner of a shard serves its clients. Any other edge redirects a device once, and serves it as
 * a guest if the device was sent here under an assignment at least as new as its own: the sender
 * then knew that assignment too, and redirecting could loop (see `connect-query.ts`).
 */
export function admit(
  assignment: Assignment | undefined,
  edgeId: string,
  shard: number,
  routedUnder: Position | undefined,
): Admission {
  if (assignment === undefined) return SERVE;
  const owner = ownerOf(assignment, shard);
  if (owner === undefined || owner.id === edgeId) return SERVE;
  const isSenderCurrent =
    routedUnder !== undefined && comparePositions(routedUnder, assignment.position) >= 0;
  return isSenderCurrent ? SERVE : { type: 'redirect', owner };
}

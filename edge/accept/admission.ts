/** Whether a device that came here is served here. Pure. */
import {
  type AssignedEdge,
  type Assignment,
  comparePositions,
  ownerOf,
  type Position,
} from '../../common/cluster/assignment.js';

export type Admission = { type: 'serve' } | { type: 'redirect'; owner: AssignedEdge };

const SERVE: Admission = { type: 'serve' };

/**
 * The owner of a shard serves its clients. Anybody else redirects a device once, and serves it as
 * a guest when it was sent here under an assignment at least as new as ours: whoever sent it knows
 * as much as we do (see `connect-query.ts`).
 */
export function admit(
  assignment: Assignment | undefined,
  edgeId: string,
  shard: number,
  sentUnder: Position | undefined,
): Admission {
  if (assignment === undefined) return SERVE;
  const owner = ownerOf(assignment, shard);
  if (owner === undefined || owner.id === edgeId) return SERVE;
  const sentByEqual =
    sentUnder !== undefined && comparePositions(sentUnder, assignment.position) >= 0;
  return sentByEqual ? SERVE : { type: 'redirect', owner };
}

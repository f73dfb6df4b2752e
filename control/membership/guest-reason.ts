/** Why a client is on an edge that does not own its shard. Pure. */
import type { Move } from '../../common/cluster/assignment.js';
import type { EdgeRecord } from './edge-record.js';

export const GUEST_REASONS = {
  'no-owner': 'the shard has no owner',
  'moving-away': 'the shard moves to another edge, and this one sends the client there',
  'moving-here': 'the shard moves to this edge, which does not own it yet',
  'assignment-late': 'the edge owns the shard and has not received that assignment yet',
  'owner-unavailable': 'the owner does not report, or is not ready',
  'connected-before-move': 'it connected before the owner got the shard, and has not left yet',
  'connected-after-move':
    'it came although another edge owns the shard: it knows no other address, or cannot reach ' +
    'the owner',
  'other-owner': 'another edge owns the shard; since when is not known',
} as const;

export type GuestReason = keyof typeof GUEST_REASONS;

export interface GuestOf {
  readonly owner: string | undefined;
  /** Undefined: control does not know it. */
  readonly ownerRecord: EdgeRecord | undefined;
  readonly move: Move | undefined;
  /** Milliseconds since the owner got the shard. Undefined: unknown. */
  readonly ownedForMs: number | undefined;
}

/** @param connectedForMs milliseconds since the client connected */
export function guestReason(
  edgeId: string,
  connectedForMs: number,
  { owner, ownerRecord, move, ownedForMs }: GuestOf,
): GuestReason {
  if (owner === undefined) return 'no-owner';
  if (move?.from === edgeId) return 'moving-away';
  if (move?.to === edgeId && owner !== edgeId) return 'moving-here';
  if (owner === edgeId) return 'assignment-late';
  const isReady = ownerRecord?.state.type === 'alive' && ownerRecord.counts?.ready !== false;
  if (ownerRecord !== undefined && !isReady) return 'owner-unavailable';
  if (ownedForMs === undefined) return 'other-owner';
  return connectedForMs > ownedForMs ? 'connected-before-move' : 'connected-after-move';
}

/** Why a drain makes no progress, or less than it could. Pure. */
import type { Pace } from './pace.js';

export const DRAIN_DELAYS = {
  frozen: 'nothing is decided while most edges have vanished at once',
  'edge-silent': 'the edge does not report',
  paused: 'moves are paused',
  'no-other-edge': 'no other edge can get its shards',
  'receiver-lost': 'an edge that received shards has died; GOAWAYs continue within 10 s',
  'reports-missing': 'an edge that receives shards does not report; the pace does not rise',
  pressure: 'an edge that receives clients is overloaded; the pace falls',
} as const;

export type DrainDelay = keyof typeof DRAIN_DELAYS;

/** The fields of a `DrainProgress` that matter here. */
export interface DrainState {
  readonly shardsPending: number;
  readonly clientsRemaining: number | undefined;
  readonly isFinished: boolean;
}

export interface DrainConditions {
  readonly isFrozen: boolean;
  readonly isPaused: boolean;
  /** An edge that is shutting down sends GOAWAYs also during a pause. */
  readonly isShuttingDown: boolean;
  /** Whether another edge may get shards and is alive. */
  readonly hasReceiver: boolean;
  readonly paceReason: Pace['reason'];
}

/** Returns undefined if nothing delays the drain. */
export function drainDelay(
  { isFinished, shardsPending, clientsRemaining }: DrainState,
  { isFrozen, isPaused, isShuttingDown, hasReceiver, paceReason }: DrainConditions,
): DrainDelay | undefined {
  if (isFinished) return undefined;
  if (isFrozen) return 'frozen';
  if (clientsRemaining === undefined) return 'edge-silent';
  if (isPaused && (shardsPending > 0 || !isShuttingDown)) return 'paused';
  if (shardsPending > 0 && !hasReceiver) return 'no-other-edge';
  if (clientsRemaining === 0) return undefined;
  if (paceReason === 'stopped') return 'receiver-lost';
  if (paceReason === 'held') return 'reports-missing';
  return paceReason === 'pressure' ? 'pressure' : undefined;
}

/** Whether the drain stands still, so that its end is unknown. */
export function isHalted(delay: DrainDelay | undefined): boolean {
  return delay !== undefined && delay !== 'pressure' && delay !== 'reports-missing';
}

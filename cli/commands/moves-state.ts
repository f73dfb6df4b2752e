/** Texts about pauses, freezes and drains. Every command that changes something ends with them. */
import { unixMs } from '../../common/process/time/clock.js';
import type { ControlApi, MovesResponse } from '../control/api.js';
import { Failure } from '../terminal/failure.js';
import { plural, spell } from './format.js';

type Drain = MovesResponse['drains'][number];

const DELAYS: Readonly<Record<NonNullable<Drain['delayedBy']>, string>> = {
  frozen: 'frozen, because most edges vanished at once',
  'edge-silent': 'the edge does not report',
  paused: 'moves are paused, longline resume continues them',
  'no-other-edge': 'no other edge can get its shards; start one, or undrain one',
  'receiver-lost': 'an edge that received shards has died, continues within 10 s',
  'reports-missing': 'slowed down, an edge that receives shards does not report',
  pressure: 'slowed down, an edge that receives clients is overloaded',
};

/** @returns '' if nothing delays the drain */
export function delayText(delayedBy: Drain['delayedBy'] | undefined): string {
  // A later version of control may have other reasons.
  return delayedBy ? (DELAYS[delayedBy] ?? delayedBy) : '';
}

/** Lines about a pause, a freeze and drains, if there are any. */
export function stateLines(moves: MovesResponse): string[] {
  const { paused, frozenUntilMs, frozenRemainingMs, drains } = moves;
  const lines: string[] = [];
  if (paused) {
    lines.push(
      'Paused: no move starts, also none of a drain or to balance, until longline resume ' +
        'or until another control leads',
    );
  }
  if (frozenUntilMs !== null) {
    // An older control does not say how long.
    const leftMs = frozenRemainingMs ?? frozenUntilMs - unixMs();
    const left = spell(Math.max(0, leftMs) / 1_000);
    lines.push(
      'Frozen: most edges vanished at once; they count as lost ' +
        `in ${left}, or after longline confirm-lost-edges`,
    );
  }
  for (const drain of drains) lines.push(drainLine(drain));
  return lines;
}

function drainLine(drain: Drain): string {
  const { edgeId, finished, clientsRemaining, shardsPending, shardsMoving } = drain;
  if (finished) return `Draining ${edgeId}: finished`;
  const left = `${plural(clientsRemaining, 'client')} and ${plural(shardsPending + shardsMoving, 'shard')} left`;
  const delay = delayText(drain.delayedBy);
  return `Draining ${edgeId}: ${left}${delay && `; ${delay}`}`;
}

/** Resolves with undefined if control cannot be reached: what came before has succeeded. */
export async function fetchMoves(api: ControlApi): Promise<MovesResponse | undefined> {
  try {
    return await api.moves();
  } catch (error) {
    if (error instanceof Failure) return undefined;
    throw error;
  }
}

/** The part of the state that a command on one edge leaves, for `--json`. */
export function stateOf(moves: MovesResponse | undefined, edgeId: string): object {
  if (moves === undefined) return {};
  const { paused, frozenUntilMs, drains } = moves;
  const { delayedBy = null } = drains.find((drain) => drain.edgeId === edgeId) ?? {};
  return { paused, frozenUntilMs, delayedBy };
}

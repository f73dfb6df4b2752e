/** What operators are rejected, before anything is done. Pure. */
import {
  type Content,
  comparePositions,
  type Intent,
  type Position,
} from '../../common/cluster/assignment.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Plan } from './plan.js';

/** @param waiting moves of another plan that have not begun */
export function rejectPlan(plan: Plan, position: Position, waiting: number): Rejection | undefined {
  if (waiting > 0)
    return rejection('PLAN_OUTDATED', `${waiting} moves of another plan are waiting`);
  if (comparePositions(plan.on, position) === 0) return undefined;
  const [made, now] = [plan.on, position].map((at) => `${at.incarnation}-${at.epoch}`);
  return rejection('PLAN_OUTDATED', `it was made for assignment ${made}, it is now ${now}`);
}

/** @param isForced the operator knows that nobody could take the shards */
export function rejectIntent(
  edges: Content['edges'],
  edgeId: string,
  intent: Intent,
  isForced: boolean,
): Rejection | undefined {
  const edge = edges.find(({ id }) => id === edgeId);
  if (edge === undefined) return rejection('NOT_FOUND', `the assignment has no edge ${edgeId}`);
  if (edge.intent === intent) {
    const is = intent === 'none' ? 'neither draining nor cordoned' : `${intent} already`;
    return rejection('INTENT_UNCHANGED', `edge ${edgeId} is ${is}`);
  }
  const isNeeded = !edges.some((other) => other.id !== edgeId && other.intent === 'none');
  if (intent === 'none' || isForced || !isNeeded) return undefined;
  return rejection('LAST_EDGE', `edge ${edgeId} is the last one that can be given shards`);
}

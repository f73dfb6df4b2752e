/** What operators are refused, before anything is done. Pure. */
import {
  type Content,
  comparePositions,
  type Intent,
  type Position,
} from '../../common/cluster/assignment.js';
import { type Refusal, refusal } from '../../common/process/errors.js';
import type { Plan } from './plan.js';

/** @param waiting moves of another plan that have not begun */
export function refusePlan(plan: Plan, position: Position, waiting: number): Refusal | undefined {
  if (waiting > 0) return refusal('PLAN_OUTDATED', `${waiting} moves of another plan are waiting`);
  if (comparePositions(plan.on, position) === 0) return undefined;
  const [made, now] = [plan.on, position].map((at) => `${at.incarnation}-${at.epoch}`);
  return refusal('PLAN_OUTDATED', `it was made for assignment ${made}, it is now ${now}`);
}

/** @param isForced the operator knows that nobody could take the shards */
export function refuseIntent(
  edges: Content['edges'],
  edgeId: string,
  intent: Intent,
  isForced: boolean,
): Refusal | undefined {
  const edge = edges.find(({ id }) => id === edgeId);
  if (edge === undefined) return refusal('NOT_FOUND', `the assignment has no edge ${edgeId}`);
  if (edge.intent === intent) {
    const is = intent === 'none' ? 'neither draining nor cordoned' : `${intent} already`;
    return refusal('INTENT_UNCHANGED', `edge ${edgeId} is ${is}`);
  }
  const isNeeded = !edges.some((other) => other.id !== edgeId && other.intent === 'none');
  if (intent === 'none' || isForced || !isNeeded) return undefined;
  return refusal('LAST_EDGE', `edge ${edgeId} is the last one that can be given shards`);
}

/** Checks of operator requests against the assignment, before anything is changed. Pure. */

import type { Content, Intent } from '../../common/cluster/assignment.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { comparePositions, type Position } from '../../common/wire/position.js';
import type { Plan } from './plan.js';

/**
 * @param position of the current assignment
 * @param pending moves of another plan that have not started
 */
export function rejectPlan(plan: Plan, position: Position, pending: number): Rejection | undefined {
  if (pending > 0) {
    const message = `${pending} moves of another plan are pending; wait until they have started`;
    return rejection('PLAN_OUTDATED', message);
  }
  if (comparePositions(plan.on, position) === 0) return undefined;
  const [made, now] = [plan.on, position].map((at) => `${at.incarnation}-${at.epoch}`);
  const message = `the plan is for assignment ${made}, the current one is ${now}; request a new plan`;
  return rejection('PLAN_OUTDATED', message);
}

/** @param isForced skips the check that another edge can get the shards */
export function rejectIntent(
  edges: Content['edges'],
  edgeId: string,
  intent: Intent,
  isForced: boolean,
): Rejection | undefined {
  const edge = edges.find(({ id }) => id === edgeId);
  if (edge === undefined) return rejection('NOT_FOUND', `the assignment has no edge ${edgeId}`);
  if (edge.intent === intent) {
    const state = intent === 'none' ? 'neither draining nor cordoned' : `already ${intent}`;
    return rejection('INTENT_UNCHANGED', `edge ${edgeId} is ${state}`);
  }
  const hasOther = edges.some((other) => other.id !== edgeId && other.intent === 'none');
  if (intent === 'none' || isForced || hasOther) return undefined;
  return rejection('LAST_EDGE', `edge ${edgeId} is the last edge that can get shards`);
}

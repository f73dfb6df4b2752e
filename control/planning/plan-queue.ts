/**
 * Steps of a plan whose moves have not started. Only moves in flight are in the assignment; the
 * queue is in memory, and the next leader plans again. The cluster changes while steps wait, so
 * each is checked again before it starts and dropped if it no longer applies.
 */
import type { Content } from '../../common/cluster/assignment.js';
import type { Cooldowns } from './cooldowns.js';
import type { PlanStep } from './plan.js';

export class PlanQueue {
  #steps: PlanStep[] = [];
  /** Ids of edges that could not receive when the plan was made, and so get nothing from it. */
  #leftOut: readonly string[] = [];

  constructor(readonly cooldowns: Cooldowns) {}

  get steps(): readonly PlanStep[] {
    return this.#steps;
  }

  get length(): number {
    return this.#steps.length;
  }

  /** @param leftOut ids of edges for which it is worth planning again once they can receive */
  replace(steps: readonly PlanStep[], leftOut: readonly string[] = []): void {
    this.#steps = [...steps];
    this.#leftOut = leftOut;
  }

  /** Whether a new plan would also give shards to an edge that could not receive before. */
  isOutdated(canReceive: (edgeId: string) => boolean): boolean {
    return this.#leftOut.some(canReceive);
  }

  /** Returns steps that were taken and whose moves have not been stored. */
  putBack(steps: readonly PlanStep[]): void {
    this.#steps.unshift(...steps);
  }

  /** Takes at most `count` steps that can start now. `hasDropped`: others no longer applied. */
  take(
    nowMs: number,
    { edges, owners, moves }: Content,
    count: number,
    canReceive: (edgeId: string) => boolean,
  ): { started: PlanStep[]; hasDropped: boolean } {
    const moving = new Set(moves.map((move) => move.shard));
    const byId = new Map(edges.map((edge, index) => [edge.id, { ...edge, index }]));
    const started: PlanStep[] = [];
    let hasDropped = false;
    while (started.length < count) {
      const step = this.#steps.shift();
      if (step === undefined) break;
      const applies =
        byId.get(step.from)?.index === owners[step.shard] &&
        !moving.has(step.shard) &&
        byId.get(step.to)?.intent === 'none' &&
        canReceive(step.to);
      if (!applies) {
        hasDropped = true;
        continue;
      }
      moving.add(step.shard);
      started.push(step);
      if (step.kind === 'balancing') this.cooldowns.onBalancingMove(nowMs, step);
      if (step.kind === 'addition') this.cooldowns.onFillingMove(nowMs, step.to);
    }
    return { started, hasDropped };
  }
}

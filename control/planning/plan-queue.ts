/**
 * The plan queue: the steps of a plan that have not begun. Only what is in flight is in the table;
 * this is in memory, and whoever leads next plans anew. The world changes while steps wait, so each
 * is looked at once more before it begins, and dropped if it makes no sense any more.
 */
import type { Content } from '../../common/cluster/assignment.js';
import type { Cooldowns } from './cooldowns.js';
import type { Step } from './plan.js';

export class PlanQueue {
  #steps: Step[] = [];

  constructor(readonly cooldowns: Cooldowns) {}

  get steps(): readonly Step[] {
    return this.#steps;
  }

  get length(): number {
    return this.#steps.length;
  }

  replace(steps: readonly Step[]): void {
    this.#steps = [...steps];
  }

  /** Steps that were taken and have not begun after all. */
  putBack(steps: readonly Step[]): void {
    this.#steps.unshift(...steps);
  }

  /** At most `count` steps that can begin now. `hasDropped`: the plan is not carried out as made. */
  take(
    nowMs: number,
    { edges, owners, moves }: Content,
    count: number,
    canReceive: (edgeId: string) => boolean,
  ): { begun: Step[]; hasDropped: boolean } {
    const moving = new Set(moves.map((move) => move.shard));
    const byId = new Map(edges.map((edge, index) => [edge.id, { ...edge, index }]));
    const begun: Step[] = [];
    let hasDropped = false;
    while (begun.length < count) {
      const step = this.#steps.shift();
      if (step === undefined) break;
      const makesSense =
        byId.get(step.from)?.index === owners[step.shard] &&
        !moving.has(step.shard) &&
        byId.get(step.to)?.intent === 'none' &&
        canReceive(step.to);
      if (!makesSense) {
        hasDropped = true;
        continue;
      }
      moving.add(step.shard);
      begun.push(step);
      if (step.kind === 'balancing') this.cooldowns.balanced(nowMs, step);
      if (step.kind === 'addition') this.cooldowns.filled(nowMs, step.to);
    }
    return { begun, hasDropped };
  }
}

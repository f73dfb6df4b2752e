/**
 * Makes a plan in three phases. Each is checked, and discarded as a whole if it breaks an
 * invariant:
 * 1. removal: the shards of draining and partitioned edges go to other edges, wherever the ring and
 *    their load allow;
 * 2. addition: edges that have just joined are filled up to their share;
 * 3. balancing, by measured load: if an edge is far outside the band, or if balancing has started
 *    and is not finished.
 * Steps carry their phase, because only the third is the rebalancer's own decision.
 */

import { type Content, NO_OWNER } from '../../common/cluster/assignment.js';
import type { Position } from '../../common/wire/position.js';
import { fillJoiners, placeUnownedShards } from '../placement/placement.js';
import { type PlannedMove, ProjectedLoads } from '../placement/projected-loads.js';
import { type BalanceEdge, isOutOfBand, rebalance } from '../placement/rebalance.js';
import {
  type Plan,
  type PlanInputs,
  type PlanStep,
  projectedOwners,
  type StepKind,
} from './plan.js';

/** An edge with this share of its target is not filled further, however few shards it has. */
const FILLED = 0.9;

/**
 * Maximum share of the load that one automatic plan moves by balancing; the next plan is made soon.
 */
const LOAD_SHARE_MAX = 0.09;

/**
 * @param isRequested an operator requests it now. The trigger deviation, cooldowns and the load
 *   budget do not apply then; they restrain only what control does by itself
 */
export function makePlan(
  content: Content,
  on: Position,
  inputs: PlanInputs,
  isRequested: boolean,
): Plan {
  const draft = new PlanDraft(content, inputs, isRequested);
  const before = draft.project().imbalance().maxOverMean;
  draft.emptyEdges();
  draft.fillJoiners();
  draft.balance();
  const end = draft.project();
  return {
    on,
    steps: draft.steps,
    maxOverMean: { before, after: end.imbalance().maxOverMean },
    isUnfinished: draft.isUnfinished(),
    irreducible: end.irreducible(),
    problems: draft.problems,
  };
}

class PlanDraft {
  readonly steps: PlanStep[] = [];
  readonly problems: string[] = [];
  /** Owners after the moves in flight and the steps so far. */
  readonly #owners: Uint16Array;
  /** Shards that are moving or have a step. */
  readonly #moving: Set<number>;

  constructor(
    readonly content: Content,
    readonly inputs: PlanInputs,
    readonly isRequested: boolean,
  ) {
    this.#owners = projectedOwners(content);
    this.#moving = new Set(content.moves.map((move) => move.shard));
  }

  /** The loads after the steps so far; `override` replaces attributes of edges, by index. */
  project(override?: (index: number) => Partial<BalanceEdge>): ProjectedLoads<BalanceEdge> {
    const edges = this.inputs.edges.map(({ id, capacity, zone, mayGive, mayReceive }, index) => ({
      id,
      capacity,
      zone,
      mayGive: this.isRequested || mayGive,
      mayReceive: this.isRequested || mayReceive,
      isJoining: false,
      isEligible: this.#isEligible(index),
      ...override?.(index),
    }));
    return new ProjectedLoads<BalanceEdge>(edges, this.#owners, this.inputs.loads);
  }

  emptyEdges(): void {
    const projected = this.project();
    if (!projected.edges.some((edge) => edge.isEligible)) return;
    const before = Uint16Array.from(projected.owners);
    const shards = [...before.keys()].filter((shard) => {
      const owner = before[shard]!;
      return owner !== NO_OWNER && this.#mustBeEmptied(owner) && !this.#moving.has(shard);
    });
    for (const shard of shards) projected.unassign(shard);
    placeUnownedShards(projected);
    const moves = shards.map((shard) => {
      return { shard, from: before[shard]!, to: projected.owners[shard]! };
    });
    this.#addPhase('removal', moves);
  }

  fillJoiners(): void {
    const joiners = findJoiners(this.project());
    if (joiners.size === 0) return;
    const isJoiner = (index: number) => joiners.has(index);
    const projected = this.project((index) => ({
      isJoining: isJoiner(index),
      mayGive: !isJoiner(index),
      mayReceive: isJoiner(index),
    }));
    const isMovable = (shard: number) => !this.#moving.has(shard);
    const preferred = fillJoiners(projected, isJoiner, isMovable);
    const moved = new Set(preferred.map((move) => move.shard));
    const others = rebalance(projected, {
      loadShareMax: 1,
      isMovable: (shard) => isMovable(shard) && !moved.has(shard),
    });
    this.#addPhase('addition', [...preferred, ...others]);
  }

  balance(): void {
    const projected = this.project((index) => ({ isEligible: this.#isKnown(index) }));
    if (!this.isRequested && !this.content.isBalancing && !isOutOfBand(projected)) return;
    const isMovable = (shard: number) =>
      this.#isMeasured(shard) && (this.isRequested || !this.inputs.isCoolingDown(shard));
    const loadShareMax = this.isRequested ? 1 : LOAD_SHARE_MAX;
    this.#addPhase('balancing', rebalance(projected, { loadShareMax, isMovable }));
  }

  isUnfinished(): boolean {
    const { edges, owners, isBalancing } = this.content;
    const { isKnown } = this.inputs.loads;
    const isAllKnown =
      edges.every(({ intent }, index) => intent !== 'none' || this.#isKnown(index)) &&
      owners.every((owner, shard) => isKnown[shard] === 1 || !this.#isEligible(owner));
    const hasSteps = this.steps.some(({ kind }) => kind !== 'removal');
    return !isAllKnown || hasSteps || (isBalancing && this.#canBalanceLater());
  }

  /** Whether moves remain that only wait for cooldowns or for the next plan's budget. */
  #canBalanceLater(): boolean {
    const projected = this.project((index) => ({
      isEligible: this.#isKnown(index),
      mayGive: true,
      mayReceive: true,
    }));
    const isMovable = (shard: number) => this.#isMeasured(shard);
    return rebalance(projected, { loadShareMax: 1, isMovable }).length > 0;
  }

  /** Adds the moves of one phase, unless they break an invariant. */
  #addPhase(kind: StepKind, moves: readonly PlannedMove[]): void {
    const problem = this.#findProblem(moves);
    if (problem !== undefined) {
      this.problems.push(`${kind}: ${problem}`);
      return;
    }
    const { edges, loads } = this.inputs;
    for (const { shard, from, to } of moves) {
      this.#owners[shard] = to;
      this.#moving.add(shard);
      const connections = Math.round(loads.connections[shard]!);
      this.steps.push({ shard, from: edges[from]!.id, to: edges[to]!.id, kind, connections });
    }
  }

  #findProblem(moves: readonly PlannedMove[]): string | undefined {
    const seen = new Set(this.#moving);
    for (const { shard, from, to } of moves) {
      if (seen.has(shard)) return `shard ${shard} would move twice`;
      seen.add(shard);
      if (this.#owners[shard] !== from) return `shard ${shard} is not owned by edge ${from}`;
      if (from === to || !this.#isEligible(to)) return `edge ${to} must not get shard ${shard}`;
    }
    return undefined;
  }

  #isEligible(index: number): boolean {
    const isAlive = this.inputs.edges[index]?.isAlive === true;
    return isAlive && this.content.edges[index]!.intent === 'none';
  }

  #isKnown(index: number): boolean {
    return this.#isEligible(index) && this.inputs.edges[index]!.isKnown;
  }

  #isMeasured(shard: number): boolean {
    return !this.#moving.has(shard) && this.inputs.loads.isKnown[shard] === 1;
  }

  #mustBeEmptied(index: number): boolean {
    const isDraining = this.content.edges[index]!.intent === 'draining';
    return isDraining || this.inputs.edges[index]!.isPartitioned;
  }
}

/**
 * Edges that have just joined, or were not filled before another one joined. They are detected by
 * the number of their shards: an edge that merely reports no load does not get more shards for it.
 */
function findJoiners(projected: ProjectedLoads): Set<number> {
  const capacity = projected.edges.reduce((sum, e) => sum + (e.isEligible ? e.capacity : 0), 0);
  const joiners = [...projected.edges.entries()].filter(([index, edge]) => {
    const fairCount = (projected.owners.length * edge.capacity) / capacity;
    const isShort = projected.shards[index]!.size < fairCount / 2;
    return edge.isEligible && isShort && projected.ratio(index) < FILLED;
  });
  return new Set(joiners.map(([index]) => index));
}

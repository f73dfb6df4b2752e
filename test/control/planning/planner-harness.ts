/** A planner with its stored assignment and a driver that writes at once unless it is held. */

import { expect } from '@jest/globals';
import {
  type Assignment,
  findProblem,
  type Intent,
  shardsOf,
} from '../../../common/cluster/assignment.js';
import { comparePositions, ORIGIN, type Position } from '../../../common/wire/position.js';
import type { LoadReport } from '../../../control/placement/load-report.js';
import { Planner } from '../../../control/planning/planner.js';
import type {
  PlannerAction,
  PlannerEdge,
  PlannerEvent,
  PlannerOptions,
} from '../../../control/planning/planner-events.js';

const OPTIONS: PlannerOptions = {
  shardCount: 16,
  movesInFlightMax: 2,
  messageWeight: 0,
  acquireMs: 10_000,
  handOverMs: 60_000,
};

export const edge = (id: string, more: Partial<PlannerEdge> = {}): PlannerEdge => ({
  id,
  incarnation: 'i1',
  advertisedUrl: `http://${id}:7000`,
  capacity: 10_000,
  zone: '',
  isMember: true,
  isAlive: true,
  isPartitioned: false,
  ...more,
});

export class PlannerHarness {
  readonly planner: Planner;
  nowMs = 0;
  stored: Assignment | undefined;
  edges: PlannerEdge[] = [];
  newestSeen: Position = ORIGIN;
  isFrozen = false;
  /** The write that has not been completed. */
  pending: PlannerAction | undefined;
  /** Writes wait for `completeWrite`. */
  isHeld = false;

  constructor(shardCount = OPTIONS.shardCount) {
    this.planner = new Planner({ ...OPTIONS, shardCount });
  }

  handle(event: PlannerEvent | null): void {
    const { actions } = this.planner.step(this.nowMs, event);
    for (const action of actions) {
      expect(this.pending).toBeUndefined();
      expect(findProblem(action.next)).toBeUndefined();
      expect(action.next.moves.length).toBeLessThanOrEqual(OPTIONS.movesInFlightMax);
      this.pending = action;
      if (!this.isHeld) this.completeWrite();
    }
  }

  /** Performs the pending write as Redis would. */
  completeWrite(): void {
    const { next, on } = this.pending!;
    this.pending = undefined;
    const position = this.stored?.position ?? ORIGIN;
    if (comparePositions(on, position) === 0) {
      expect(comparePositions(next.position, position)).toBeGreaterThan(0);
      this.stored = next;
      this.handle({ type: 'written' });
    } else {
      this.handle({ type: 'read', assignment: this.stored });
    }
  }

  setMembers(...edges: PlannerEdge[]): void {
    this.edges = edges;
    this.sendEdges();
    this.handle({ type: 'replan' });
  }

  sendEdges(): void {
    const { edges, newestSeen, isFrozen } = this;
    this.handle({ type: 'edges', edges, newestSeen, isFrozen });
  }

  pass(ms: number): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs += 250;
      this.handle(null);
    }
  }

  /** Reports of edges that have completed their part of all moves; `loads` is per shard. */
  report(ids: string[], loads: (shard: number) => number = () => 100): void {
    for (const edgeId of ids) {
      const { position: under, moves } = this.stored!;
      const shards = shardsOf(this.stored!, edgeId).map((shard) => ({
        shard,
        connections: loads(shard),
        messagesPerSecond: 0,
      }));
      const connections = shards.reduce((sum, one) => sum + one.connections, 0);
      const report: LoadReport = { under, connections, shards };
      const shardsOfMoves = (phase: string, end: 'from' | 'to') =>
        moves.filter((m) => m.phase === phase && m[end] === edgeId).map((m) => m.shard);
      this.handle({
        type: 'report',
        moves: {
          edgeId,
          under,
          acquired: shardsOfMoves('acquiring', 'to'),
          released: shardsOfMoves('handing-over', 'from'),
        },
        loads: report,
      });
    }
  }

  passWithReports(ids: string[], ms: number, loads?: (shard: number) => number): void {
    for (let passed = 0; passed < ms; passed += 2_000) {
      this.pass(2_000);
      this.report(ids, loads);
    }
  }

  shardCounts(): Record<string, number> {
    const { edges } = this.stored!;
    return Object.fromEntries(edges.map(({ id }) => [id, shardsOf(this.stored!, id).length]));
  }

  moves(): string[] {
    return this.stored!.moves.map(
      ({ shard, from, to, phase }) => `${shard} ${from}>${to} ${phase}`,
    );
  }

  setIntent(edgeId: string, intent: Intent): void {
    this.handle({ type: 'intent', edgeId, intent });
  }

  static withEdges(...ids: string[]): PlannerHarness {
    return new PlannerHarness().start(...ids);
  }

  start(...ids: string[]): PlannerHarness {
    this.handle({ type: 'read', assignment: undefined });
    this.setMembers(...ids.map((id) => edge(id)));
    return this;
  }
}

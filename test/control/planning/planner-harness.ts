/** A planner, its table, and a driver that writes at once unless told otherwise. */
import { expect } from '@jest/globals';
import {
  type Assignment,
  comparePositions,
  findProblem,
  type Intent,
  ORIGIN,
  type Position,
  shardsOf,
} from '../../../common/cluster/assignment.js';
import type { LoadReport } from '../../../control/placement/loads.js';
import {
  Planner,
  type PlannerAction,
  type PlannerEdge,
  type PlannerEvent,
  type PlannerOptions,
} from '../../../control/planning/planner.js';

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

export class Story {
  readonly planner: Planner;
  nowMs = 0;
  stored: Assignment | undefined;
  edges: PlannerEdge[] = [];
  newestSeen: Position = ORIGIN;
  isFrozen = false;
  /** The write that has not been answered. */
  pending: PlannerAction | undefined;
  isHeld = false;

  constructor(shardCount = OPTIONS.shardCount) {
    this.planner = new Planner({ ...OPTIONS, shardCount });
  }

  tell(event: PlannerEvent | null): void {
    const { actions } = this.planner.step(this.nowMs, event);
    for (const action of actions) {
      expect(this.pending).toBeUndefined();
      expect(findProblem(action.next)).toBeUndefined();
      expect(action.next.moves.length).toBeLessThanOrEqual(OPTIONS.movesInFlightMax);
      this.pending = action;
      if (!this.isHeld) this.answer();
    }
  }

  /** Redis does what it was asked. */
  answer(): void {
    const { next, on } = this.pending!;
    this.pending = undefined;
    const position = this.stored?.position ?? ORIGIN;
    if (comparePositions(on, position) === 0) {
      expect(comparePositions(next.position, position)).toBeGreaterThan(0);
      this.stored = next;
      this.tell({ type: 'written' });
    } else {
      this.tell({ type: 'read', assignment: this.stored });
    }
  }

  members(...edges: PlannerEdge[]): void {
    this.edges = edges;
    this.tellEdges();
    this.tell({ type: 'replan' });
  }

  tellEdges(): void {
    const { edges, newestSeen, isFrozen } = this;
    this.tell({ type: 'edges', edges, newestSeen, isFrozen });
  }

  pass(ms: number): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs += 250;
      this.tell(null);
    }
  }

  /** Every edge has done what the table asks, and says so; `loads` are per shard. */
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
      const of = (phase: string, who: 'from' | 'to') =>
        moves.filter((m) => m.phase === phase && m[who] === edgeId).map((m) => m.shard);
      this.tell({
        type: 'report',
        moves: {
          edgeId,
          under,
          acquired: of('acquiring', 'to'),
          released: of('handing-over', 'from'),
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

  shares(): Record<string, number> {
    const { edges } = this.stored!;
    return Object.fromEntries(edges.map(({ id }) => [id, shardsOf(this.stored!, id).length]));
  }

  moves(): string[] {
    return this.stored!.moves.map(
      ({ shard, from, to, phase }) => `${shard} ${from}>${to} ${phase}`,
    );
  }

  intent(edgeId: string, intent: Intent): void {
    this.tell({ type: 'intent', edgeId, intent });
  }

  static withEdges(...ids: string[]): Story {
    return new Story().begin(...ids);
  }

  begin(...ids: string[]): Story {
    this.tell({ type: 'read', assignment: undefined });
    this.members(...ids.map((id) => edge(id)));
    return this;
  }
}

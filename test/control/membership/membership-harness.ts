/** The `Membership` machine with a clock, and its events in short form. */
import { expect } from '@jest/globals';
import { ORIGIN } from '../../../common/wire/position.js';
import type { EdgeCounts } from '../../../control/membership/edge-record.js';
import {
  Membership,
  type MembershipAction,
  type MembershipEvent,
} from '../../../control/membership/membership.js';

export const LEASE_MS = 10_000;
export const INITIAL_DELAY_MS = 2_000;

export const edge = (id: string, incarnation = 'i1') => ({
  id,
  incarnation,
  advertisedUrl: `http://${id}:7000`,
  capacity: 1_000,
  zone: '',
});
export const counts: EdgeCounts = {
  connections: 2,
  guests: 0,
  shardsSubscribed: 4,
  ready: true,
  shards: [{ shard: 1, connections: 2, messagesPerSecond: 0 }],
};
export const hello = (id: string, session: number, incarnation?: string): MembershipEvent => ({
  type: 'hello',
  session,
  edge: edge(id, incarnation),
  have: ORIGIN,
});
export const report = (edgeId: string, session: number): MembershipEvent => ({
  type: 'report',
  edgeId,
  session,
  counts,
});
export const notReadyReport = (edgeId: string, session: number): MembershipEvent => ({
  type: 'report',
  edgeId,
  session,
  counts: { ...counts, ready: false },
});
export const disconnected = (edgeId: string, session: number): MembershipEvent => ({
  type: 'disconnected',
  edgeId,
  session,
});
export const restored = (...ids: string[]): MembershipEvent => ({
  type: 'restored',
  edges: ids.map((id) => edge(id)),
});

/** Results of the probes of an edge's port; `closed` that of a port without a process. */
export type ProbeResults = 'silent' | 'accepts' | 'closed';

/** A machine with a clock, run from wake-up to wake-up as its driver does. */
export class MembershipHarness {
  readonly machine = new Membership(LEASE_MS);
  nowMs = 0;
  /** Silent by default. */
  readonly ports = new Map<string, ProbeResults>();
  probes = 0;
  #wakeAtMs = Number.POSITIVE_INFINITY;

  /** Handles an event now; returns the actions in short form. Probes are answered and left out. */
  handle(event: MembershipEvent | null): string[] {
    const { actions, wakeAtMs } = this.machine.step(this.nowMs, event);
    expect(wakeAtMs).toBeGreaterThan(this.nowMs);
    this.#wakeAtMs = wakeAtMs;
    return actions.flatMap((action) => {
      if (action.type !== 'probe') return [shorten(action)];
      const { edgeId, probe } = action;
      this.probes++;
      const result = this.ports.get(edgeId) ?? 'silent';
      if (result === 'silent') return [];
      return this.handle({ type: 'probed', edgeId, probe, isClosed: result === 'closed' });
    });
  }

  /** Lets time pass; returns the actions, each with its time. */
  pass(ms: number): string[] {
    const endMs = this.nowMs + ms;
    const actions: string[] = [];
    while (this.#wakeAtMs <= endMs) {
      this.nowMs = this.#wakeAtMs;
      actions.push(...this.handle(null).map((action) => `${this.nowMs} ${action}`));
    }
    this.nowMs = endMs;
    return actions;
  }

  states(): Record<string, string> {
    return Object.fromEntries(this.machine.edges.map(({ id, state }) => [id, state.type]));
  }

  /** Two edges whose first assignment was planned at 1,000. */
  static converged(): MembershipHarness {
    const harness = new MembershipHarness();
    harness.nowMs = 1_000 - INITIAL_DELAY_MS;
    harness.handle(restored());
    harness.handle(hello('a', 1));
    harness.handle(hello('b', 2));
    expect(harness.pass(INITIAL_DELAY_MS)).toEqual(['1000 replan']);
    return harness;
  }

  /** Reports of `a` only, every two seconds, for `ms`. */
  passWithReportsOfA(ms: number): string[] {
    return this.passWithReportsOf({ a: 1 }, ms);
  }

  passWithReportsOf(sessions: Record<string, number>, ms: number): string[] {
    const actions: string[] = [];
    for (let passed = 0; passed < ms; passed += 2_000) {
      actions.push(...this.pass(Math.min(2_000, ms - passed)));
      for (const [id, session] of Object.entries(sessions)) {
        actions.push(...this.handle(report(id, session)));
      }
    }
    return actions;
  }
}

export function shorten(action: MembershipAction): string {
  if (action.type === 'end') return `end ${action.session} ${action.reason.code}`;
  return action.type === 'drain' ? `drain ${action.edgeId}` : action.type;
}

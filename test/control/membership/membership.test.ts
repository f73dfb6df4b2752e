import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ORIGIN } from '../../../common/cluster/assignment.js';
import {
  type EdgeCounts,
  Membership,
  type MembershipAction,
  type MembershipEvent,
} from '../../../control/membership/membership.js';

const LEASE_MS = 10_000;
const SETTLE_MS = 2_000;

const edge = (id: string, incarnation = 'i1') => ({
  id,
  incarnation,
  advertisedUrl: `http://${id}:7000`,
  capacity: 1_000,
  zone: '',
});
const counts: EdgeCounts = {
  connections: 2,
  guests: 0,
  shardsSubscribed: 4,
  ready: true,
  shards: [{ shard: 1, connections: 2 }],
};
const hello = (id: string, session: number, incarnation?: string): MembershipEvent => ({
  type: 'hello',
  session,
  edge: edge(id, incarnation),
  have: ORIGIN,
});
const report = (edgeId: string, session: number): MembershipEvent => ({
  type: 'report',
  edgeId,
  session,
  counts,
});
const unwell = (edgeId: string, session: number): MembershipEvent => ({
  type: 'report',
  edgeId,
  session,
  counts: { ...counts, ready: false },
});
const broken = (edgeId: string, session: number): MembershipEvent => ({
  type: 'broken',
  edgeId,
  session,
});
const restored = (...ids: string[]): MembershipEvent => ({
  type: 'restored',
  edges: ids.map((id) => edge(id)),
});

/** A machine with a clock: runs it from wake-up to wake-up, as its driver does. */
class Story {
  readonly machine = new Membership(LEASE_MS);
  nowMs = 0;
  #wakeAtMs = Number.POSITIVE_INFINITY;

  /** What happens at this moment; returns the short form of the actions. */
  now(event: MembershipEvent | null): string[] {
    const { actions, wakeAtMs } = this.machine.step(this.nowMs, event);
    expect(wakeAtMs).toBeGreaterThan(this.nowMs);
    this.#wakeAtMs = wakeAtMs;
    return actions.map(shorten);
  }

  /** Lets time pass; returns each action with the moment at which it came. */
  pass(ms: number): string[] {
    const endMs = this.nowMs + ms;
    const said: string[] = [];
    while (this.#wakeAtMs <= endMs) {
      this.nowMs = this.#wakeAtMs;
      said.push(...this.now(null).map((action) => `${this.nowMs} ${action}`));
    }
    this.nowMs = endMs;
    return said;
  }

  states(): Record<string, string> {
    return Object.fromEntries(this.machine.edges.map(({ id, state }) => [id, state.type]));
  }

  /** Two edges whose first assignment has been planned at 1,000. */
  static settled(): Story {
    const story = new Story();
    story.nowMs = 1_000 - SETTLE_MS;
    story.now(restored());
    story.now(hello('a', 1));
    story.now(hello('b', 2));
    expect(story.pass(SETTLE_MS)).toEqual(['1000 replan']);
    return story;
  }

  /** Reports of `a` only, every two seconds, for `ms`. */
  passWithReportsOfA(ms: number): string[] {
    return this.passWithReportsOf({ a: 1 }, ms);
  }

  passWithReportsOf(sessions: Record<string, number>, ms: number): string[] {
    const said: string[] = [];
    for (let passed = 0; passed < ms; passed += 2_000) {
      said.push(...this.pass(Math.min(2_000, ms - passed)));
      for (const [id, session] of Object.entries(sessions)) {
        said.push(...this.now(report(id, session)));
      }
    }
    return said;
  }
}

function shorten(action: MembershipAction): string {
  if (action.type === 'end') return `end ${action.session} ${action.why.code}`;
  return action.type === 'drain' ? `drain ${action.edgeId}` : action.type;
}

test('plans once for edges that start together, two seconds after the last hello', () => {
  const story = new Story();
  expect(story.now(restored())).toEqual([]);
  expect(story.now(hello('a', 1))).toEqual([]);
  story.pass(900);
  expect(story.now(hello('b', 2))).toEqual([]);
  expect(story.pass(5_000)).toEqual(['2900 replan']);
});

test('plans eight seconds after the first hello, although more edges are coming', () => {
  const story = new Story();
  story.now(restored());
  const passed = Array.from({ length: 20 }, (_, i) => {
    story.now(hello(`edge-${i}`, i));
    return story.pass(700);
  });
  expect(passed.flat()[0]).toBe('8000 replan');
});

test('plans at once for an edge that joins later', () => {
  const story = Story.settled();
  expect(story.now(hello('c', 3))).toEqual(['replan']);
});

test('plans nothing before it is known what was assigned before', () => {
  const story = new Story();
  story.now(hello('a', 1));
  expect(story.pass(5_000)).toEqual([]);
  expect(story.now(restored())).toEqual(['replan']);
});

test('suspects an edge whose session breaks at once, and gives its shards away after its lease', () => {
  const story = Story.settled();
  story.now(report('b', 2));
  expect(story.now(broken('b', 2))).toEqual([]);
  expect(story.states()).toEqual({ a: 'alive', b: 'suspect' });
  expect(story.passWithReportsOfA(12_000)).toEqual(['11000 replan']);
  expect(story.states()).toEqual({ a: 'alive', b: 'dead' });
});

test('moves nothing when a suspect edge comes back within its lease', () => {
  const story = Story.settled();
  story.now(broken('b', 2));
  story.pass(7_000);
  story.now(report('a', 1));
  expect(story.now(hello('b', 3))).toEqual([]);
  expect(story.states()).toEqual({ a: 'alive', b: 'alive' });
});

test('plans at once for a new process in the place of a suspect edge', () => {
  const story = Story.settled();
  story.now(report('b', 2));
  story.now(broken('b', 2));
  expect(story.now(hello('b', 3, 'i2'))).toEqual(['replan']);
  expect(story.machine.edges[1]).toMatchObject({ incarnation: 'i2', counts: undefined });
});

test('rejects a second process under the id of a live edge', () => {
  const story = Story.settled();
  expect(story.now(hello('b', 3, 'i2'))).toEqual(['end 3 EDGE_ID_IN_USE']);
  expect(story.machine.edges[1]).toMatchObject({ incarnation: 'i1', state: { session: 2 } });
  expect(story.now(broken('b', 3))).toEqual([]);
  expect(story.states()).toEqual({ a: 'alive', b: 'alive' });
});

test('lets a process replace its own session, and ignores the old one from then on', () => {
  const story = Story.settled();
  expect(story.now(hello('b', 3))).toEqual(['end 2 EDGE_ID_IN_USE']);
  expect(story.now(broken('b', 2))).toEqual([]);
  expect(story.now(report('b', 2))).toEqual([]);
  expect(story.states()).toEqual({ a: 'alive', b: 'alive' });
  expect(story.machine.edges[1]!.counts).toBeUndefined();
});

test('ends the session of an edge that holds its stream open but does not report', () => {
  const story = Story.settled();
  expect(story.passWithReportsOfA(10_000)).toEqual(['9000 end 2 NOT_READY', '9000 replan']);
  expect(story.states()).toEqual({ a: 'alive', b: 'dead' });
});

test('takes a report that comes later than the lease, but before the lease is judged', () => {
  const story = Story.settled();
  story.nowMs = 30_000;
  story.now(report('a', 1));
  expect(story.states()).toEqual({ a: 'alive', b: 'dead' });
});

test('knows nothing of the load of an edge that has not reported, or reported nonsense', () => {
  const story = Story.settled();
  expect(story.machine.edges[0]!.counts).toBeUndefined();
  story.now(report('a', 1));
  expect(story.machine.edges[0]!.counts).toEqual(counts);
  story.now({ type: 'report', edgeId: 'a', session: 1, counts: undefined });
  expect(story.machine.edges[0]!.counts).toBeUndefined();
});

test('waits one lease for the edges of the stored assignment before it decides anything', () => {
  const story = new Story();
  story.now(restored('a', 'b'));
  expect(story.states()).toEqual({ a: 'suspect', b: 'suspect' });
  story.pass(500);
  expect(story.now(hello('a', 1))).toEqual([]);
  // From when half of them were back.
  expect(story.passWithReportsOfA(10_000)).toEqual(['10500 replan']);
  expect(story.states()).toEqual({ a: 'alive', b: 'dead' });
});

test('needs no lease when all edges of the stored assignment are back', () => {
  const story = new Story();
  story.now(restored('a', 'b'));
  story.now(hello('a', 1));
  story.now(hello('b', 2));
  expect(story.pass(SETTLE_MS)).toEqual(['2000 replan']);
});

test('decides nothing while no edge at all is heard', () => {
  const story = Story.settled();
  story.now(broken('a', 1));
  story.now(broken('b', 2));
  expect(story.pass(60_000)).toEqual([]);
  expect(story.states()).toEqual({ a: 'dead', b: 'dead' });
  expect(story.now(hello('b', 3))).toEqual(['replan']);
});

test('waits for the verdict on one suspect before it gives away the shards of another', () => {
  const story = Story.settled();
  for (const [index, id] of ['c', 'd', 'e'].entries()) story.now(hello(id, 3 + index));
  story.pass(1_000);
  story.now(broken('c', 3));
  story.now(report('b', 2));
  story.pass(1_000);
  story.now(broken('b', 2));
  // The lease of c ends at 11 s, that of b at 12 s: one plan instead of two.
  expect(story.passWithReportsOf({ a: 1, d: 4, e: 5 }, 12_000)).toEqual(['12000 replan']);
});

/** Five edges, of which `ids` have lost their sessions at once, just now. */
function vanished(...ids: string[]): Story {
  const story = Story.settled();
  for (const [index, id] of ['c', 'd', 'e'].entries()) story.now(hello(id, 3 + index));
  story.pass(1_000);
  for (const [id, session] of Object.entries({ a: 1, b: 2, c: 3, d: 4, e: 5 })) {
    story.now(ids.includes(id) ? broken(id, session) : report(id, session));
  }
  return story;
}

test('freezes when most edges vanish at once, and believes it after three leases', () => {
  const story = vanished('c', 'd', 'e');
  expect(story.machine.frozenUntilMs).toBe(2_000 + 3 * LEASE_MS);
  expect(story.passWithReportsOf({ a: 1, b: 2 }, 29_000)).toEqual([]);
  expect(story.states()).toMatchObject({ c: 'suspect', d: 'suspect', e: 'suspect' });
  expect(story.passWithReportsOf({ a: 1, b: 2 }, 2_000)).toEqual(['32000 replan']);
  expect(story.states()).toMatchObject({ c: 'dead', d: 'dead', e: 'dead' });
});

test('does not freeze for less than half, nor for a single edge of one', () => {
  expect(vanished('d', 'e').machine.frozenUntilMs).toBeUndefined();
  const story = new Story();
  story.now(restored('a'));
  expect(story.machine.frozenUntilMs).toBeUndefined();
});

test('freezes when most edges fall silent on open streams', () => {
  const story = vanished();
  const ends = ['end 3', 'end 4', 'end 5'].map((end) => `12000 ${end} NOT_READY`);
  expect(story.passWithReportsOf({ a: 1, b: 2 }, 20_000)).toEqual(ends);
  expect(story.machine.frozenUntilMs).toBe(9_500 + 3 * LEASE_MS);
});

test('freezes when they fall silent one report apart, before the first is dead', () => {
  const story = vanished();
  story.pass(1_900);
  for (const [id, session] of Object.entries({ a: 1, d: 4, e: 5 })) story.now(report(id, session));
  story.passWithReportsOf({ a: 1 }, 20_000);
  expect(story.machine.frozenUntilMs).toBeDefined();
  expect(story.states()).toMatchObject({ b: 'suspect', c: 'suspect', d: 'suspect' });
  for (const [index, id] of ['b', 'c', 'd', 'e'].entries()) story.now(hello(id, 6 + index));
  const back = { a: 1, b: 6, c: 7, d: 8, e: 9 };
  expect(story.passWithReportsOf(back, 40_000)).toEqual([]);
});

test('does not freeze for edges that vanish one after the other', () => {
  const story = vanished('c');
  story.passWithReportsOf({ a: 1, b: 2, d: 4, e: 5 }, 6_000);
  story.now(broken('d', 4));
  story.passWithReportsOf({ a: 1, b: 2, e: 5 }, 6_000);
  story.now(broken('e', 5));
  expect(story.machine.frozenUntilMs).toBeUndefined();
});

test('thaws when half of the edges are back, and then gives the others a lease', () => {
  const story = vanished('c', 'd', 'e');
  story.passWithReportsOf({ a: 1, b: 2 }, 20_000);
  story.now(hello('c', 6));
  expect(story.machine.frozenUntilMs).toBeUndefined();
  expect(story.passWithReportsOf({ a: 1, b: 2, c: 6 }, 10_000)).toEqual(['32000 replan']);
});

test('believes an operator that the edges are gone', () => {
  const story = vanished('c', 'd', 'e');
  expect(story.now({ type: 'confirm-lost-edges' })).toEqual(['replan']);
  expect(story.states()).toMatchObject({ a: 'alive', c: 'dead', d: 'dead', e: 'dead' });
  expect(story.machine.frozenUntilMs).toBeUndefined();
  // It is about the freeze: an edge that has only just vanished has its lease.
  const calm = vanished('e');
  expect(calm.now({ type: 'confirm-lost-edges' })).toEqual([]);
  expect(calm.states()).toMatchObject({ e: 'suspect' });
});

/** Three edges for `ms`, of which `ids` say that they are not ready. */
function notReady(story: Story, ids: readonly string[], ms: number): string[] {
  for (let passed = 0; passed < ms; passed += 2_000) {
    story.pass(2_000);
    for (const [id, session] of Object.entries({ a: 1, b: 2, c: 3 })) {
      story.now(ids.includes(id) ? unwell(id, session) : report(id, session));
    }
  }
  return [...story.machine.partitionedEdges].sort();
}

function threeEdges(): Story {
  const story = Story.settled();
  story.now(hello('c', 3));
  return story;
}

test('an edge that is not ready for longer than a lease is cut off, until it is ready', () => {
  const story = threeEdges();
  expect(notReady(story, ['c'], 12_000)).toEqual([]);
  expect(notReady(story, ['c'], 2_000)).toEqual(['c']);
  expect(story.states()).toMatchObject({ c: 'alive' });
  expect(notReady(story, [], 2_000)).toEqual([]);
  // Not for adding up.
  expect(notReady(story, ['c'], 10_000)).toEqual([]);
});

test('when most edges are not ready nobody is cut off, and each gets another lease', () => {
  const story = threeEdges();
  expect(notReady(story, ['b', 'c'], 60_000)).toEqual([]);
  expect(notReady(story, ['c'], 8_000)).toEqual([]);
  expect(notReady(story, ['c'], 6_000)).toEqual(['c']);
});

test('an edge that is leaving, that is not heard, or that is a new process is not cut off', () => {
  const story = threeEdges();
  for (let passed = 0; passed < 20_000; passed += 2_000) {
    story.pass(2_000);
    for (const [id, session] of [
      ['a', 1],
      ['b', 2],
    ] as const)
      story.now(report(id, session));
    const leaving = { ...counts, ready: false, leaving: true };
    story.now({ type: 'report', edgeId: 'c', session: 3, counts: leaving });
  }
  expect(story.machine.partitionedEdges.size).toBe(0);
  expect(notReady(story, ['c'], 14_000)).toEqual(['c']);
  story.now(broken('c', 3));
  expect(story.machine.partitionedEdges.size).toBe(0);
  story.now(hello('c', 3, 'i2'));
  expect(notReady(story, ['c'], 10_000)).toEqual([]);
});

test('passes on that an edge wants to leave, from its own session only', () => {
  const story = Story.settled();
  expect(story.now({ type: 'leaving', edgeId: 'b', session: 2 })).toEqual(['drain b']);
  expect(story.now({ type: 'leaving', edgeId: 'b', session: 9 })).toEqual([]);
});

test('does not wait for suspects longer than a lease', () => {
  const story = Story.settled();
  story.now(report('b', 2));
  story.now(broken('b', 2));
  expect(story.now(hello('c', 3))).toEqual([]);
  story.pass(3_000);
  story.now(hello('d', 4));
  story.now(broken('d', 4));
  story.now(report('a', 1));
  story.now(report('c', 3));
  // c came at 1 s; d is in doubt until 14 s.
  expect(story.pass(7_500)).toEqual(['11000 replan']);
  expect(story.states()).toEqual({ a: 'alive', b: 'dead', c: 'alive', d: 'suspect' });
});

test('forgets a dead edge after a quarter of an hour', () => {
  const story = Story.settled();
  story.now(broken('b', 2));
  story.passWithReportsOfA(15 * 60_000);
  expect(Object.keys(story.states())).toContain('b');
  story.passWithReportsOfA(20_000);
  expect(Object.keys(story.states())).toEqual(['a']);
});

test('remembers the newest assignment that an edge has said to know', () => {
  const story = new Story();
  story.now({ ...hello('a', 1), have: { incarnation: 1, epoch: 9 } } as MembershipEvent);
  story.now({ ...hello('b', 2), have: { incarnation: 1, epoch: 3 } } as MembershipEvent);
  expect(story.machine.newestSeen).toEqual({ incarnation: 1, epoch: 9 });
});

test('keeps its invariants whatever happens in whatever order', () => {
  const ids = fc.constantFrom('a', 'b', 'c');
  const sessions = fc.integer({ min: 1, max: 6 });
  const event: fc.Arbitrary<MembershipEvent | null> = fc.oneof(
    fc
      .tuple(ids, fc.constantFrom('i1', 'i2'))
      .map(([id, incarnation]) => hello(id, 0, incarnation)),
    fc.tuple(ids, sessions).map(([id, session]) => report(id, session)),
    fc.tuple(ids, sessions).map(([id, session]) => broken(id, session)),
    fc.constant(null),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(event, fc.nat(6_000))), (steps) => {
      const story = new Story();
      story.now(restored('a'));
      let session = 0;
      const ended = new Set<string>();
      for (const [next, ms] of steps) {
        const fresh = next?.type === 'hello' ? { ...next, session: ++session } : next;
        for (const action of [...story.pass(ms), ...story.now(fresh)]) {
          const match = /end (\d+)/.exec(action);
          if (match === null) continue;
          expect(ended.has(match[1]!)).toBe(false);
          ended.add(match[1]!);
        }
        const open = story.machine.edges.flatMap(({ state }) =>
          state.type === 'alive' ? [state.session] : [],
        );
        expect(new Set(open).size).toBe(open.length);
        expect(open.filter((one) => ended.has(String(one)))).toEqual([]);
        // Time alone changes nothing twice.
        expect(story.now(null)).toEqual([]);
      }
    }),
  );
});

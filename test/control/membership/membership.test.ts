import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { MembershipEvent } from '../../../control/membership/membership.js';
import {
  counts,
  disconnected,
  hello,
  INITIAL_DELAY_MS,
  LEASE_MS,
  MembershipHarness,
  notReadyReport,
  type ProbeResults,
  report,
  restored,
} from './membership-harness.js';

test('plans nothing before the stored assignment is known', () => {
  const harness = new MembershipHarness();
  harness.handle(hello('a', 1));
  expect(harness.pass(5_000)).toEqual([]);
  expect(harness.handle(restored())).toEqual(['replan']);
});

test('suspects an edge when its session disconnects, and replans after its lease', () => {
  const harness = MembershipHarness.converged();
  harness.handle(report('b', 2));
  expect(harness.handle(disconnected('b', 2))).toEqual([]);
  expect(harness.states()).toEqual({ a: 'alive', b: 'suspect' });
  expect(harness.passWithReportsOfA(12_000)).toEqual(['11000 replan']);
  expect(harness.states()).toEqual({ a: 'alive', b: 'dead' });
});

test('does not replan when a suspect edge returns within its lease', () => {
  const harness = MembershipHarness.converged();
  harness.handle(disconnected('b', 2));
  harness.pass(7_000);
  harness.handle(report('a', 1));
  expect(harness.handle(hello('b', 3))).toEqual([]);
  expect(harness.states()).toEqual({ a: 'alive', b: 'alive' });
});

test('plans at once for a new process under the id of a suspect edge', () => {
  const harness = MembershipHarness.converged();
  harness.pass(1_000);
  harness.handle(report('b', 2));
  harness.handle(disconnected('b', 2));
  expect(harness.handle(hello('b', 3, 'i2'))).toEqual(['replan']);
  expect(harness.machine.edges[1]).toMatchObject({ incarnation: 'i2', counts: undefined });
});

test('rejects a second process under the id of a live edge', () => {
  const harness = MembershipHarness.converged();
  expect(harness.handle(hello('b', 3, 'i2'))).toEqual(['end 3 EDGE_ID_IN_USE']);
  expect(harness.machine.edges[1]).toMatchObject({ incarnation: 'i1', state: { session: 2 } });
  expect(harness.handle(disconnected('b', 3))).toEqual([]);
  expect(harness.states()).toEqual({ a: 'alive', b: 'alive' });
});

test('lets a process replace its own session, and then ignores the old one', () => {
  const harness = MembershipHarness.converged();
  expect(harness.handle(hello('b', 3))).toEqual(['end 2 EDGE_ID_IN_USE']);
  expect(harness.handle(disconnected('b', 2))).toEqual([]);
  expect(harness.handle(report('b', 2))).toEqual([]);
  expect(harness.states()).toEqual({ a: 'alive', b: 'alive' });
  expect(harness.machine.edges[1]!.counts).toBeUndefined();
});

test('ends the session of an edge that holds its stream open but does not report', () => {
  const harness = MembershipHarness.converged();
  expect(harness.passWithReportsOfA(10_000)).toEqual(['9000 end 2 NOT_READY', '9000 replan']);
  expect(harness.states()).toEqual({ a: 'alive', b: 'dead' });
});

test('accepts a report after the end of the lease if the lease was not checked before', () => {
  const harness = MembershipHarness.converged();
  harness.nowMs = 30_000;
  harness.handle(report('a', 1));
  expect(harness.states()).toEqual({ a: 'alive', b: 'dead' });
});

test('has no counts of an edge that has not reported, or whose report is implausible', () => {
  const harness = MembershipHarness.converged();
  expect(harness.machine.edges[0]!.counts).toBeUndefined();
  harness.handle(report('a', 1));
  expect(harness.machine.edges[0]!.counts).toEqual(counts);
  harness.handle({ type: 'report', edgeId: 'a', session: 1, counts: undefined });
  expect(harness.machine.edges[0]!.counts).toBeUndefined();
});

test('waits one lease for the edges of the stored assignment before it replans', () => {
  const harness = new MembershipHarness();
  harness.handle(restored('a', 'b'));
  expect(harness.states()).toEqual({ a: 'suspect', b: 'suspect' });
  harness.pass(500);
  expect(harness.handle(hello('a', 1))).toEqual([]);
  // The lease counts from when half of them were back.
  expect(harness.passWithReportsOfA(10_000)).toEqual(['10500 replan']);
  expect(harness.states()).toEqual({ a: 'alive', b: 'dead' });
});

test('needs no lease when all edges of the stored assignment are back', () => {
  const harness = new MembershipHarness();
  harness.handle(restored('a', 'b'));
  harness.handle(hello('a', 1));
  harness.handle(hello('b', 2));
  expect(harness.pass(INITIAL_DELAY_MS)).toEqual(['2000 replan']);
});

test('does not replan while no edge has a session', () => {
  const harness = MembershipHarness.converged();
  harness.handle(disconnected('a', 1));
  harness.handle(disconnected('b', 2));
  expect(harness.pass(60_000)).toEqual([]);
  expect(harness.states()).toEqual({ a: 'dead', b: 'dead' });
  expect(harness.handle(hello('b', 3))).toEqual(['replan']);
});

test('waits for the lease of one suspect edge before it replans for another', () => {
  const harness = MembershipHarness.converged();
  for (const [index, id] of ['c', 'd', 'e'].entries()) harness.handle(hello(id, 3 + index));
  harness.pass(1_000);
  harness.handle(disconnected('c', 3));
  harness.handle(report('b', 2));
  harness.pass(1_000);
  harness.handle(disconnected('b', 2));
  // The lease of c ends at 11 s, that of b at 12 s: one plan instead of two.
  expect(harness.passWithReportsOf({ a: 1, d: 4, e: 5 }, 12_000)).toEqual(['12000 replan']);
});

/** Five edges; the sessions of `ids` have just disconnected at once. */
function vanished(...ids: string[]): MembershipHarness {
  const harness = MembershipHarness.converged();
  for (const [index, id] of ['c', 'd', 'e'].entries()) harness.handle(hello(id, 3 + index));
  harness.pass(1_000);
  for (const [id, session] of Object.entries({ a: 1, b: 2, c: 3, d: 4, e: 5 })) {
    harness.handle(ids.includes(id) ? disconnected(id, session) : report(id, session));
  }
  return harness;
}

test('freezes when most edges vanish at once, for three leases', () => {
  const harness = vanished('c', 'd', 'e');
  expect(harness.machine.frozenUntilMs).toBe(2_000 + 3 * LEASE_MS);
  expect(harness.passWithReportsOf({ a: 1, b: 2 }, 29_000)).toEqual([]);
  expect(harness.states()).toMatchObject({ c: 'suspect', d: 'suspect', e: 'suspect' });
  expect(harness.passWithReportsOf({ a: 1, b: 2 }, 2_000)).toEqual(['32000 replan']);
  expect(harness.states()).toMatchObject({ c: 'dead', d: 'dead', e: 'dead' });
});

test('does not freeze for less than half of the edges, nor for the only edge', () => {
  expect(vanished('d', 'e').machine.frozenUntilMs).toBeUndefined();
  const harness = new MembershipHarness();
  harness.handle(restored('a'));
  expect(harness.machine.frozenUntilMs).toBeUndefined();
});

test('freezes when most edges fall silent on open streams', () => {
  const harness = vanished();
  const ends = ['end 3', 'end 4', 'end 5'].map((end) => `12000 ${end} NOT_READY`);
  expect(harness.passWithReportsOf({ a: 1, b: 2 }, 20_000)).toEqual(ends);
  expect(harness.machine.frozenUntilMs).toBe(9_500 + 3 * LEASE_MS);
});

test('freezes when most edges fall silent one report apart, before the first is dead', () => {
  const harness = vanished();
  harness.pass(1_900);
  for (const [id, session] of Object.entries({ a: 1, d: 4, e: 5 }))
    harness.handle(report(id, session));
  harness.passWithReportsOf({ a: 1 }, 20_000);
  expect(harness.machine.frozenUntilMs).toBeDefined();
  expect(harness.states()).toMatchObject({ b: 'suspect', c: 'suspect', d: 'suspect' });
  for (const [index, id] of ['b', 'c', 'd', 'e'].entries()) harness.handle(hello(id, 6 + index));
  const back = { a: 1, b: 6, c: 7, d: 8, e: 9 };
  expect(harness.passWithReportsOf(back, 40_000)).toEqual([]);
});

test('does not freeze when edges vanish one after the other', () => {
  const harness = vanished('c');
  harness.passWithReportsOf({ a: 1, b: 2, d: 4, e: 5 }, 6_000);
  harness.handle(disconnected('d', 4));
  harness.passWithReportsOf({ a: 1, b: 2, e: 5 }, 6_000);
  harness.handle(disconnected('e', 5));
  expect(harness.machine.frozenUntilMs).toBeUndefined();
});

test('unfreezes when half of the edges are back, and then gives the others a lease', () => {
  const harness = vanished('c', 'd', 'e');
  harness.passWithReportsOf({ a: 1, b: 2 }, 20_000);
  harness.handle(hello('c', 6));
  expect(harness.machine.frozenUntilMs).toBeUndefined();
  expect(harness.passWithReportsOf({ a: 1, b: 2, c: 6 }, 10_000)).toEqual(['32000 replan']);
});

test('replans when an operator confirms that the edges are lost', () => {
  const harness = vanished('c', 'd', 'e');
  expect(harness.handle({ type: 'confirm-lost-edges' })).toEqual(['replan']);
  expect(harness.states()).toMatchObject({ a: 'alive', c: 'dead', d: 'dead', e: 'dead' });
  expect(harness.machine.frozenUntilMs).toBeUndefined();
  // Without a freeze, an edge that has just vanished keeps its lease.
  const calm = vanished('e');
  expect(calm.handle({ type: 'confirm-lost-edges' })).toEqual([]);
  expect(calm.states()).toMatchObject({ e: 'suspect' });
});

test('places the shards of an edge at once when its port is closed three times', () => {
  const harness = vanished();
  harness.ports.set('e', 'closed');
  expect(harness.handle(disconnected('e', 5))).toEqual([]);
  expect(harness.pass(75)).toEqual([]);
  expect(harness.states()).toMatchObject({ e: 'suspect' });
  expect(harness.pass(25)).toEqual(['2100 replan']);
  expect(harness.states()).toMatchObject({ d: 'alive', e: 'dead' });
});

test.each<ProbeResults>(['silent', 'accepts'])(
  'gives an edge its lease whose port is %s',
  (port) => {
    const harness = vanished();
    harness.ports.set('e', port);
    harness.handle(disconnected('e', 5));
    const others = { a: 1, b: 2, c: 3, d: 4 };
    expect(harness.passWithReportsOf(others, 9_900)).toEqual([]);
    expect(harness.passWithReportsOf(others, 2_000)).toEqual(['12000 replan']);
    // Twenty in the first second, and then one per second; a silent one is still in progress.
    expect(harness.probes).toBeLessThan(35);
  },
);

test('two answers of a closed port and an accepted connection prove nothing', () => {
  const harness = vanished();
  harness.ports.set('e', 'closed');
  harness.handle(disconnected('e', 5));
  harness.pass(75);
  // Another process listens, or this one again.
  harness.ports.set('e', 'accepts');
  harness.pass(50);
  harness.ports.set('e', 'closed');
  expect(harness.pass(100)).toEqual([]);
  expect(harness.pass(50)).toEqual(['2250 replan']);
});

test('keeps an edge that returns before the proof, and ignores the results of its earlier probes', () => {
  const harness = vanished();
  harness.handle(disconnected('e', 5));
  harness.handle(hello('e', 6));
  for (const probe of [1, 1, 1]) {
    expect(harness.handle({ type: 'probed', edgeId: 'e', probe, isClosed: true })).toEqual([]);
  }
  expect(harness.states()).toMatchObject({ e: 'alive' });
});

test('does not wait for a silent edge before it places the shards of one whose port is closed', () => {
  const harness = vanished('d');
  harness.ports.set('e', 'closed');
  harness.handle(disconnected('e', 5));
  expect(harness.pass(500)).toEqual(['2100 replan']);
  expect(harness.states()).toMatchObject({ d: 'suspect', e: 'dead' });
});

test('freezes when most edges vanish at once, although their ports are closed', () => {
  const harness = vanished();
  for (const id of ['c', 'd', 'e']) harness.ports.set(id, 'closed');
  for (const [id, session] of Object.entries({ c: 3, d: 4, e: 5 }))
    harness.handle(disconnected(id, session));
  expect(harness.passWithReportsOf({ a: 1, b: 2 }, 29_000)).toEqual([]);
  expect(harness.states()).toMatchObject({ c: 'suspect', d: 'suspect', e: 'suspect' });
  expect(harness.passWithReportsOf({ a: 1, b: 2 }, 2_000)).toEqual(['32000 replan']);
});

test('freezes when the last edges vanish at once, although one of their leases ends with others', () => {
  const harness = new MembershipHarness();
  harness.handle(restored('c', 'd'));
  harness.handle(hello('a', 1));
  harness.handle(hello('b', 2));
  harness.pass(6_000);
  harness.handle(report('b', 2));
  harness.pass(1_000);
  harness.handle(disconnected('a', 1));
  harness.handle(disconnected('b', 2));
  expect(harness.machine.frozenUntilMs).toBeUndefined();
  // The leases of c and d, which have never been there, and of a.
  harness.pass(LEASE_MS - 7_000);
  expect(harness.states()).toEqual({ a: 'suspect', b: 'suspect', c: 'dead', d: 'dead' });
  expect(harness.machine.frozenUntilMs).toBe(4 * LEASE_MS);
});

test('freezes when most edges crash one after the other within half a lease', () => {
  const harness = vanished();
  for (const id of ['c', 'd', 'e']) harness.ports.set(id, 'closed');
  harness.handle(disconnected('c', 3));
  expect(harness.pass(1_000)).toEqual(['2100 replan']);
  harness.handle(disconnected('d', 4));
  expect(harness.pass(1_000)).toEqual(['3100 replan']);
  harness.handle(disconnected('e', 5));
  // As if the first two had only fallen silent.
  expect(harness.machine.frozenUntilMs).toBe(4_000 + 3 * LEASE_MS);
  expect(harness.passWithReportsOf({ a: 1, b: 2 }, 20_000)).toEqual([]);
  expect(harness.states()).toMatchObject({ c: 'dead', d: 'dead', e: 'suspect' });
});

test('a router that finds a closed port makes control end a session that has missed a report', () => {
  const harness = vanished();
  harness.ports.set('e', 'closed');
  const reported: MembershipEvent = {
    type: 'closed-port-reported',
    edgeId: 'e',
    incarnation: 'i1',
  };
  const others = { a: 1, b: 2, c: 3, d: 4 };
  harness.passWithReportsOf(others, 2_000);
  expect(harness.handle(reported)).toEqual([]);
  harness.passWithReportsOf(others, 2_000);
  expect(harness.handle({ ...reported, incarnation: 'i0' })).toEqual([]);
  expect(harness.handle(reported)).toEqual(['end 5 NOT_READY']);
  expect(harness.pass(500)).toEqual(['6100 replan']);
});

test('a router that finds a closed port makes a new control probe an edge of the assignment', () => {
  const harness = new MembershipHarness();
  harness.handle(restored('a', 'b', 'c', 'd', 'e'));
  harness.ports.set('d', 'closed').set('e', 'closed');
  const alive = { a: 1, b: 2, c: 3 };
  for (const [id, session] of Object.entries(alive)) harness.handle(hello(id, session));
  const reported = { type: 'closed-port-reported', edgeId: 'd', incarnation: 'i1' } as const;
  expect(harness.handle({ ...reported, incarnation: 'i0' })).toEqual([]);
  expect(harness.probes).toBe(0);
  // The initial delay is not over.
  expect(harness.handle(reported)).toEqual([]);
  const actions = harness.passWithReportsOf(alive, INITIAL_DELAY_MS + 500);
  expect(actions).toEqual([`${INITIAL_DELAY_MS} replan`]);
  // No router has reported the fifth edge: it keeps its shards for its lease.
  expect(harness.states()).toMatchObject({ d: 'dead', e: 'suspect' });
  const before = harness.probes;
  // Neither an edge that is dead nor one that is alive is probed.
  harness.handle(reported);
  harness.handle({ ...reported, edgeId: 'a' });
  harness.passWithReportsOf(alive, 2_000);
  expect(harness.probes).toBe(before);
});

test('probes a bounded number of ports at once', () => {
  const harness = MembershipHarness.converged();
  const sessions = Array.from({ length: 300 }, (_, i): [string, number] => [`edge-${i}`, 10 + i]);
  for (const [id, session] of sessions) harness.handle(hello(id, session));
  for (const [id, session] of sessions.slice(0, 100)) harness.handle(disconnected(id, session));
  expect(harness.machine.frozenUntilMs).toBeUndefined();
  harness.pass(5_000);
  expect(harness.probes).toBe(64);
});

/** Three edges report for `ms`, those in `ids` that they are not ready. */
function passNotReady(harness: MembershipHarness, ids: readonly string[], ms: number): string[] {
  for (let passed = 0; passed < ms; passed += 2_000) {
    harness.pass(2_000);
    for (const [id, session] of Object.entries({ a: 1, b: 2, c: 3 })) {
      harness.handle(ids.includes(id) ? notReadyReport(id, session) : report(id, session));
    }
  }
  return [...harness.machine.partitionedEdges].sort();
}

function threeEdges(): MembershipHarness {
  const harness = MembershipHarness.converged();
  harness.handle(hello('c', 3));
  return harness;
}

test('an edge that is not ready for longer than a lease is partitioned until it is ready', () => {
  const harness = threeEdges();
  expect(passNotReady(harness, ['c'], 12_000)).toEqual([]);
  expect(passNotReady(harness, ['c'], 2_000)).toEqual(['c']);
  expect(harness.states()).toMatchObject({ c: 'alive' });
  expect(passNotReady(harness, [], 2_000)).toEqual([]);
  // Separate periods do not add up.
  expect(passNotReady(harness, ['c'], 10_000)).toEqual([]);
});

test('when most edges are not ready none is partitioned, and each gets another lease', () => {
  const harness = threeEdges();
  expect(passNotReady(harness, ['b', 'c'], 60_000)).toEqual([]);
  expect(passNotReady(harness, ['c'], 8_000)).toEqual([]);
  expect(passNotReady(harness, ['c'], 6_000)).toEqual(['c']);
});

test('an edge that shuts down, has disconnected or has restarted is not partitioned', () => {
  const harness = threeEdges();
  for (let passed = 0; passed < 20_000; passed += 2_000) {
    harness.pass(2_000);
    for (const [id, session] of [
      ['a', 1],
      ['b', 2],
    ] as const)
      harness.handle(report(id, session));
    const shuttingDown = { ...counts, ready: false, shuttingDown: true };
    harness.handle({ type: 'report', edgeId: 'c', session: 3, counts: shuttingDown });
  }
  expect(harness.machine.partitionedEdges.size).toBe(0);
  expect(passNotReady(harness, ['c'], 14_000)).toEqual(['c']);
  harness.handle(disconnected('c', 3));
  expect(harness.machine.partitionedEdges.size).toBe(0);
  harness.handle(hello('c', 3, 'i2'));
  expect(passNotReady(harness, ['c'], 10_000)).toEqual([]);
});

test('drains an edge that shuts down, for its own session only', () => {
  const harness = MembershipHarness.converged();
  expect(harness.handle({ type: 'shutting-down', edgeId: 'b', session: 2 })).toEqual(['drain b']);
  expect(harness.handle({ type: 'shutting-down', edgeId: 'b', session: 9 })).toEqual([]);
});

test('does not wait for suspect edges longer than a lease', () => {
  const harness = MembershipHarness.converged();
  harness.handle(report('b', 2));
  harness.handle(disconnected('b', 2));
  expect(harness.handle(hello('c', 3))).toEqual([]);
  harness.pass(3_000);
  harness.handle(hello('d', 4));
  harness.handle(disconnected('d', 4));
  harness.handle(report('a', 1));
  harness.handle(report('c', 3));
  // c joined at 1 s; d is suspect until 14 s.
  expect(harness.pass(7_500)).toEqual(['11000 replan']);
  expect(harness.states()).toEqual({ a: 'alive', b: 'dead', c: 'alive', d: 'suspect' });
});

test('deletes a dead edge after 15 minutes', () => {
  const harness = MembershipHarness.converged();
  harness.handle(disconnected('b', 2));
  harness.passWithReportsOfA(15 * 60_000);
  expect(Object.keys(harness.states())).toContain('b');
  harness.passWithReportsOfA(20_000);
  expect(Object.keys(harness.states())).toEqual(['a']);
});

test('remembers the newest assignment that any edge has', () => {
  const harness = new MembershipHarness();
  harness.handle({ ...hello('a', 1), have: { incarnation: 1, epoch: 9 } } as MembershipEvent);
  harness.handle({ ...hello('b', 2), have: { incarnation: 1, epoch: 3 } } as MembershipEvent);
  expect(harness.machine.newestSeen).toEqual({ incarnation: 1, epoch: 9 });
});

test('keeps its invariants for any events in any order', () => {
  const ids = fc.constantFrom('a', 'b', 'c');
  const sessions = fc.integer({ min: 1, max: 6 });
  const event: fc.Arbitrary<MembershipEvent | null> = fc.oneof(
    fc
      .tuple(ids, fc.constantFrom('i1', 'i2'))
      .map(([id, incarnation]) => hello(id, 0, incarnation)),
    fc.tuple(ids, sessions).map(([id, session]) => report(id, session)),
    fc.tuple(ids, sessions).map(([id, session]) => disconnected(id, session)),
    ids.map((edgeId) => ({ type: 'closed-port-reported' as const, edgeId, incarnation: 'i1' })),
    fc.constant(null),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(event, fc.nat(6_000))), (steps) => {
      const harness = new MembershipHarness();
      harness.ports.set('a', 'closed').set('b', 'accepts');
      harness.handle(restored('a'));
      let session = 0;
      const ended = new Set<string>();
      for (const [next, ms] of steps) {
        const fresh = next?.type === 'hello' ? { ...next, session: ++session } : next;
        for (const action of [...harness.pass(ms), ...harness.handle(fresh)]) {
          const match = /end (\d+)/.exec(action);
          if (match === null) continue;
          expect(ended.has(match[1]!)).toBe(false);
          ended.add(match[1]!);
        }
        const open = harness.machine.edges.flatMap(({ state }) =>
          state.type === 'alive' ? [state.session] : [],
        );
        expect(new Set(open).size).toBe(open.length);
        expect(open.filter((one) => ended.has(String(one)))).toEqual([]);
        // Without new time, a step changes nothing.
        expect(harness.handle(null)).toEqual([]);
      }
    }),
  );
});

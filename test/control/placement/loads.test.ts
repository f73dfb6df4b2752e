import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Assignment, Position } from '../../../common/cluster/assignment.js';
import { findReportProblem, type LoadReport, Loads } from '../../../control/placement/loads.js';
import { contentOf, edgeName } from '../planning/plan-inputs.js';

const [A, B] = [edgeName(0), edgeName(1)] as const;
const FOLLOW_MS = 30_000;
const at = (epoch: number): Position => ({ incarnation: 0, epoch });

/** Four shards, of which `owners` says who owns which. */
function table(epoch: number, owners: number[], incarnations = ['i1', 'i1']): Assignment {
  const { edges, ...rest } = contentOf(2, 4);
  return {
    ...rest,
    position: at(epoch),
    edges: edges.map((edge, index) => ({ ...edge, incarnation: incarnations[index]! })),
    owners: Uint16Array.from(owners),
  };
}

function report(epoch: number, connections: Record<number, number>, rate = 0): LoadReport {
  const shards = Object.entries(connections).map(([shard, count]) => ({
    shard: Number(shard),
    connections: count,
    messagesPerSecond: rate,
  }));
  const sum = shards.reduce((total, one) => total + one.connections, 0);
  return { under: at(epoch), connections: sum, shards };
}

/** Both edges have reported, long after the table was made. */
function settled(messageWeight = 0): Loads {
  const loads = new Loads(4, messageWeight);
  loads.follow(0, table(1, [0, 0, 1, 1]));
  loads.hear(FOLLOW_MS, A, report(1, { 0: 200, 1: 300 }));
  loads.hear(FOLLOW_MS, B, report(1, { 2: 400 }));
  return loads;
}

test('measures what fresh reports say, and that no clients is little but not nothing', () => {
  const { load, connections, isKnown } = settled().measure(FOLLOW_MS);
  expect([...load]).toEqual([200, 300, 400, 0.01]);
  expect([...connections]).toEqual([200, 300, 400, 0]);
  expect([...isKnown]).toEqual([1, 1, 1, 1]);
});

test('adds messages by their weight', () => {
  const loads = new Loads(4, 2);
  loads.follow(0, table(1, [0, 0, 1, 1]));
  loads.hear(FOLLOW_MS, A, report(1, { 0: 200 }, 50));
  expect(loads.measure(FOLLOW_MS).load[0]).toBe(300);
  expect(loads.measure(FOLLOW_MS).connections[0]).toBe(200);
});

test('counts clients of a shard wherever they are', () => {
  const loads = settled();
  loads.hear(FOLLOW_MS, B, report(1, { 0: 50, 2: 400 }));
  expect(loads.measure(FOLLOW_MS).load[0]).toBe(250);
});

test('does not know what has not been reported, and takes the mean for it', () => {
  const loads = new Loads(4, 0);
  loads.follow(0, table(1, [0, 0, 1, 1]));
  loads.hear(FOLLOW_MS, A, report(1, { 0: 200, 1: 300 }));
  const { load, isKnown } = loads.measure(FOLLOW_MS);
  expect([...isKnown]).toEqual([1, 1, 0, 0]);
  expect([...load]).toEqual([200, 300, 250, 250]);
});

test('keeps the last load of an edge whose reports are old or nonsense, as unknown', () => {
  for (const fade of [
    (loads: Loads) => loads.hear(FOLLOW_MS + 1, B, undefined),
    (loads: Loads) => loads.hear(FOLLOW_MS + 10_001, A, report(1, { 0: 200, 1: 300 })),
  ]) {
    const loads = settled();
    loads.measure(FOLLOW_MS);
    fade(loads);
    const { load, isKnown } = loads.measure(FOLLOW_MS + 10_001);
    expect(load[2]).toBe(400);
    expect(isKnown[2]).toBe(0);
    expect(loads.isEdgeKnown(FOLLOW_MS + 10_001, B)).toBe(false);
  }
});

test('does not take a count under an older assignment for that of a new owner', () => {
  const loads = settled();
  loads.measure(FOLLOW_MS);
  loads.follow(FOLLOW_MS, table(2, [1, 0, 1, 1]));
  const laterMs = 2 * FOLLOW_MS;
  loads.hear(laterMs, A, report(1, { 1: 300 }));
  loads.hear(laterMs, B, report(1, { 2: 400 }));
  expect(loads.measure(laterMs).isKnown[0]).toBe(0);
  expect(loads.measure(laterMs).load[0]).toBe(200);
  loads.hear(laterMs, B, report(2, { 0: 180, 2: 400 }));
  expect(loads.measure(laterMs).isKnown[0]).toBe(1);
  expect(loads.measure(laterMs).load[0]).toBe(180);
});

test('waits for clients to follow a shard, and to come back to a new process', () => {
  for (const next of [table(2, [1, 0, 1, 1]), table(2, [0, 0, 1, 1], ['i2', 'i1'])]) {
    const loads = settled();
    loads.measure(FOLLOW_MS);
    loads.follow(FOLLOW_MS, next);
    loads.hear(FOLLOW_MS + 5_000, A, report(2, { 1: 1 }));
    loads.hear(FOLLOW_MS + 5_000, B, report(2, { 0: 1, 2: 400 }));
    expect(loads.measure(FOLLOW_MS + 5_000).load[0]).toBe(200);
    expect(loads.measure(FOLLOW_MS + 5_000).isKnown[0]).toBe(0);
  }
});

test('does not believe that a crowd is gone until it stays away', () => {
  const loads = settled();
  loads.measure(FOLLOW_MS);
  const sayNothing = (ms: number) => loads.hear(FOLLOW_MS + ms, B, report(1, {}));
  sayNothing(1);
  expect(loads.measure(FOLLOW_MS + 1).load[2]).toBe(400);
  expect(loads.isEdgeKnown(FOLLOW_MS + 1, B)).toBe(false);
  sayNothing(29_000);
  expect(loads.measure(FOLLOW_MS + 30_000).load[2]).toBe(400);
  sayNothing(30_002);
  expect(loads.measure(FOLLOW_MS + 30_002).load[2]).toBe(0.01);
});

test('forgets edges that are not in the assignment', () => {
  const loads = settled();
  const { edges, ...rest } = table(2, [0, 0, 0, 0]);
  loads.follow(FOLLOW_MS, { ...rest, edges: edges.slice(0, 1) });
  expect(loads.isEdgeKnown(FOLLOW_MS, A)).toBe(true);
  expect(loads.isEdgeKnown(FOLLOW_MS, B)).toBe(false);
});

test.each<[string, Partial<LoadReport>, RegExp]>([
  ['NaN', { connections: Number.NaN }, /NaN connections/],
  ['a negative count', { connections: -1 }, /-1 connections/],
  ['more than fit', { connections: 1_001 }, /1001 connections where 1000 fit/],
  ['a sum that is not one', { connections: 4 }, /4 connections, of which 5 have a shard/],
  ['a shard that there is not', report(1, { 4: 5 }), /shard 4 of 4/],
  ['half a connection', report(1, { 1: 2.5 }), /2.5 connections/],
  ['an endless rate', report(1, { 1: 5 }, Number.POSITIVE_INFINITY), /Infinity messages/],
])('finds that %s cannot be', (_, wrong, reason) => {
  const right = report(1, { 1: 5 });
  expect(findReportProblem(right, 4, 1_000)).toBeUndefined();
  expect(findReportProblem({ ...right, ...wrong }, 4, 1_000)).toMatch(reason);
});

test('finds a shard that is counted twice', () => {
  const one = { shard: 1, connections: 5, messagesPerSecond: 0 };
  const twice = { under: at(1), connections: 10, shards: [one, one] };
  expect(findReportProblem(twice, 4, 1_000)).toBe('shard 1 twice');
});

test('always has a load for every shard, whatever it hears', () => {
  const edge = fc.constantFrom(A, B, 'stranger');
  const counts = fc.dictionary(fc.constantFrom('0', '1', '2', '3'), fc.nat(500));
  const heard = fc.tuple(edge, fc.nat(3), fc.option(counts, { nil: undefined }), fc.nat(20_000));
  fc.assert(
    fc.property(fc.array(heard), (all) => {
      const loads = settled();
      let nowMs = FOLLOW_MS;
      for (const [id, epoch, connections, ms] of all) {
        nowMs += ms;
        loads.hear(nowMs, id, connections && report(epoch, connections));
        const { load } = loads.measure(nowMs);
        expect(load.every((one) => one > 0 && one < Number.POSITIVE_INFINITY)).toBe(true);
      }
    }),
  );
});

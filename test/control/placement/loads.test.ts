import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Assignment } from '../../../common/cluster/assignment.js';
import type { Position } from '../../../common/wire/position.js';
import { findReportProblem, type LoadReport } from '../../../control/placement/load-report.js';
import { Loads } from '../../../control/placement/loads.js';
import { contentOf, edgeName } from '../planning/plan-inputs.js';

const [A, B] = [edgeName(0), edgeName(1)] as const;
const FOLLOW_MS = 30_000;
const at = (epoch: number): Position => ({ incarnation: 0, epoch });

/** An assignment of four shards to the edges with the indexes `owners`. */
function assignmentAt(epoch: number, owners: number[], incarnations = ['i1', 'i1']): Assignment {
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

/** Loads after both edges have reported, long after the assignment was made. */
function knownLoads(messageWeight = 0): Loads {
  const loads = new Loads(4, messageWeight);
  loads.onAssignment(0, assignmentAt(1, [0, 0, 1, 1]));
  loads.onReport(FOLLOW_MS, A, report(1, { 0: 200, 1: 300 }));
  loads.onReport(FOLLOW_MS, B, report(1, { 2: 400 }));
  return loads;
}

test('measures fresh reports, and gives a shard without clients a small load', () => {
  const { load, connections, isKnown } = knownLoads().measure(FOLLOW_MS);
  expect([...load]).toEqual([200, 300, 400, 0.01]);
  expect([...connections]).toEqual([200, 300, 400, 0]);
  expect([...isKnown]).toEqual([1, 1, 1, 1]);
});

test('adds messages by their weight', () => {
  const loads = new Loads(4, 2);
  loads.onAssignment(0, assignmentAt(1, [0, 0, 1, 1]));
  loads.onReport(FOLLOW_MS, A, report(1, { 0: 200 }, 50));
  expect(loads.measure(FOLLOW_MS).load[0]).toBe(300);
  expect(loads.measure(FOLLOW_MS).connections[0]).toBe(200);
});

test('sums the clients of a shard over all edges', () => {
  const loads = knownLoads();
  loads.onReport(FOLLOW_MS, B, report(1, { 0: 50, 2: 400 }));
  expect(loads.measure(FOLLOW_MS).load[0]).toBe(250);
});

test('estimates a shard that was never reported by the mean, as unknown', () => {
  const loads = new Loads(4, 0);
  loads.onAssignment(0, assignmentAt(1, [0, 0, 1, 1]));
  loads.onReport(FOLLOW_MS, A, report(1, { 0: 200, 1: 300 }));
  const { load, isKnown } = loads.measure(FOLLOW_MS);
  expect([...isKnown]).toEqual([1, 1, 0, 0]);
  expect([...load]).toEqual([200, 300, 250, 250]);
});

test('keeps the last load of an edge whose reports are old or implausible, as unknown', () => {
  for (const invalidate of [
    (loads: Loads) => loads.onReport(FOLLOW_MS + 1, B, undefined),
    (loads: Loads) => loads.onReport(FOLLOW_MS + 10_001, A, report(1, { 0: 200, 1: 300 })),
  ]) {
    const loads = knownLoads();
    loads.measure(FOLLOW_MS);
    invalidate(loads);
    const { load, isKnown } = loads.measure(FOLLOW_MS + 10_001);
    expect(load[2]).toBe(400);
    expect(isKnown[2]).toBe(0);
    expect(loads.isEdgeKnown(FOLLOW_MS + 10_001, B)).toBe(false);
  }
});

test('ignores the counts of a new owner under an older assignment', () => {
  const loads = knownLoads();
  loads.measure(FOLLOW_MS);
  loads.onAssignment(FOLLOW_MS, assignmentAt(2, [1, 0, 1, 1]));
  const laterMs = 2 * FOLLOW_MS;
  loads.onReport(laterMs, A, report(1, { 1: 300 }));
  loads.onReport(laterMs, B, report(1, { 2: 400 }));
  expect(loads.measure(laterMs).isKnown[0]).toBe(0);
  expect(loads.measure(laterMs).load[0]).toBe(200);
  loads.onReport(laterMs, B, report(2, { 0: 180, 2: 400 }));
  expect(loads.measure(laterMs).isKnown[0]).toBe(1);
  expect(loads.measure(laterMs).load[0]).toBe(180);
});

test('waits for clients to follow a shard, and to reconnect to a new process', () => {
  for (const next of [assignmentAt(2, [1, 0, 1, 1]), assignmentAt(2, [0, 0, 1, 1], ['i2', 'i1'])]) {
    const loads = knownLoads();
    loads.measure(FOLLOW_MS);
    loads.onAssignment(FOLLOW_MS, next);
    loads.onReport(FOLLOW_MS + 5_000, A, report(2, { 1: 1 }));
    loads.onReport(FOLLOW_MS + 5_000, B, report(2, { 0: 1, 2: 400 }));
    expect(loads.measure(FOLLOW_MS + 5_000).load[0]).toBe(200);
    expect(loads.measure(FOLLOW_MS + 5_000).isKnown[0]).toBe(0);
  }
});

test('trusts a drop to zero clients only after it has lasted for 30 s', () => {
  const loads = knownLoads();
  loads.measure(FOLLOW_MS);
  const reportNone = (ms: number) => loads.onReport(FOLLOW_MS + ms, B, report(1, {}));
  reportNone(1);
  expect(loads.measure(FOLLOW_MS + 1).load[2]).toBe(400);
  expect(loads.isEdgeKnown(FOLLOW_MS + 1, B)).toBe(false);
  reportNone(29_000);
  expect(loads.measure(FOLLOW_MS + 30_000).load[2]).toBe(400);
  reportNone(30_002);
  expect(loads.measure(FOLLOW_MS + 30_002).load[2]).toBe(0.01);
});

test('drops the reports of edges that are not in the assignment', () => {
  const loads = knownLoads();
  const { edges, ...rest } = assignmentAt(2, [0, 0, 0, 0]);
  loads.onAssignment(FOLLOW_MS, { ...rest, edges: edges.slice(0, 1) });
  expect(loads.isEdgeKnown(FOLLOW_MS, A)).toBe(true);
  expect(loads.isEdgeKnown(FOLLOW_MS, B)).toBe(false);
});

test.each<[string, Partial<LoadReport>, RegExp]>([
  ['NaN', { connections: Number.NaN }, /NaN connections is not a count/],
  ['a negative count', { connections: -1 }, /-1 connections/],
  ['more than the capacity', { connections: 1_001 }, /1001 connections; the capacity is 1000/],
  ['a wrong sum', { connections: 4 }, /4 connections; those of the shards sum to 5/],
  ['an unknown shard', report(1, { 4: 5 }), /shard 4 does not exist; the cluster has 4 shards/],
  ['half a connection', report(1, { 1: 2.5 }), /2.5 connections is not a count/],
  [
    'an infinite rate',
    report(1, { 1: 5 }, Number.POSITIVE_INFINITY),
    /Infinity messages per second/,
  ],
])('rejects %s', (_, wrong, reason) => {
  const right = report(1, { 1: 5 });
  expect(findReportProblem(right, 4, 1_000)).toBeUndefined();
  expect(findReportProblem({ ...right, ...wrong }, 4, 1_000)).toMatch(reason);
});

test('rejects a shard that is listed twice', () => {
  const one = { shard: 1, connections: 5, messagesPerSecond: 0 };
  const twice = { under: at(1), connections: 10, shards: [one, one] };
  expect(findReportProblem(twice, 4, 1_000)).toBe('shard 1 is listed twice');
});

test('always has a load for every shard, for any reports', () => {
  const edge = fc.constantFrom(A, B, 'unknown');
  const counts = fc.dictionary(fc.constantFrom('0', '1', '2', '3'), fc.nat(500));
  const reported = fc.tuple(edge, fc.nat(3), fc.option(counts, { nil: undefined }), fc.nat(20_000));
  fc.assert(
    fc.property(fc.array(reported), (all) => {
      const loads = knownLoads();
      let nowMs = FOLLOW_MS;
      for (const [id, epoch, connections, ms] of all) {
        nowMs += ms;
        loads.onReport(nowMs, id, connections && report(epoch, connections));
        const { load } = loads.measure(nowMs);
        expect(load.every((one) => one > 0 && one < Number.POSITIVE_INFINITY)).toBe(true);
      }
    }),
  );
});

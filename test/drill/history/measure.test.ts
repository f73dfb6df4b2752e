import { expect, test } from '@jest/globals';
import { measure } from '../../../drill/history/measure.js';
import { absence, attempt, connection, history, live, push, receipt } from './history-builder.js';

test('the figures of an empty history are zero', () => {
  expect(measure(history({}))).toEqual({
    accepted: 0,
    delivered: 0,
    duplicates: 0,
    unknown: 0,
    p50GapMs: 0,
    p99GapMs: 0,
    maxGapMs: 0,
    connections: 0,
    destroyed: {},
    unannounced: 0,
    squeezed: { survived: 0, killed: 0, shed: 0 },
    longestMs: {},
  });
});

test('counts accepted, delivered, duplicate and unknown pushes', () => {
  const pushes = [
    push(1, [attempt('UNKNOWN'), attempt('UNANSWERED'), attempt('DUPLICATE', '5-0', 11_000)]),
    push(2, [attempt('REJECTED')]),
    live(3, [attempt('WRITTEN')]),
  ];
  const connections = [
    connection([receipt(1, '5-0'), receipt(3, '')], { closedAtMs: 12_000 }),
    connection([receipt(1, '5-0', 13_000)], { openedAtMs: 12_500 }),
  ];
  expect(measure(history({ pushes, connections }))).toMatchObject({
    accepted: 1,
    delivered: 2,
    duplicates: 1,
    unknown: 2,
    connections: 2,
  });
});

test('a gap is measured from the sending of the accepted attempt to the first receipt', () => {
  const pushes = [
    push(1, [attempt('STORED', '5-0', 10_000)]),
    push(2, [attempt('REJECTED', '', 10_000), attempt('STORED', '6-0', 11_000)]),
  ];
  const connections = [connection([receipt(1, '5-0', 10_007), receipt(2, '6-0', 13_000)])];
  expect(measure(history({ pushes, connections }))).toMatchObject({
    p50GapMs: 2_000,
    maxGapMs: 2_000,
  });
});

test('a gap does not include absences of the device', () => {
  const pushes = [push(1, [attempt('STORED', '5-0', 10_000)])];
  const connections = [connection([receipt(1, '5-0', 20_000)])];
  const absences = [absence(9_000, 14_000), absence(15_000, 19_000)];
  expect(measure(history({ pushes, connections, absences })).maxGapMs).toBe(2_000);
});

test('the longest time without delivery is attributed to the faults that were in progress', () => {
  const pushes = [
    push(1, [attempt('REJECTED', '', 10_000), attempt('STORED', '5-0', 12_000)]),
    push(2, [attempt('STORED', '6-0', 30_000)]),
    push(3, [attempt('STORED', '7-0', 50_000)]),
  ];
  const receipts = [
    receipt(1, '5-0', 13_000),
    receipt(2, '6-0', 30_400),
    receipt(3, '7-0', 50_900),
  ];
  const disturbances = [
    { kind: 'killRedis', target: 'redis', fromMs: 9_900, toMs: 11_000 },
    { kind: 'killEdge', target: 'edge-1', fromMs: 10_500, toMs: 30_000 },
    { kind: 'killEdge', target: 'edge-1', fromMs: 30_300, toMs: 30_500 },
    { kind: 'killRouter', target: 'router', fromMs: 60_000, toMs: 61_000 },
  ];
  const deviceFaults = [
    { kind: 'cut', clientIds: ['alice'], fromMs: 50_100, toMs: 50_100 },
    { kind: 'cut', clientIds: ['bob'], fromMs: 10_500, toMs: 10_500 },
  ];
  const all = { pushes, connections: [connection(receipts)], disturbances, deviceFaults };
  expect(measure(history(all)).longestMs).toEqual({
    killRedis: 3_000,
    killEdge: 3_000,
    killRouter: 0,
    cut: 900,
  });
});

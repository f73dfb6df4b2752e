import { describe, expect, test } from '@jest/globals';
import { MQTT_DURABLE } from '../../canary/devices/mqtt-link.js';
import { forget, JUDGED_MS_MAX, judge, latenciesOf, stateOf } from '../../canary/window.js';
import type { HistoryInProgress } from '../../drill/history/history.js';
import {
  absence,
  attempt,
  connection,
  disturbance,
  history,
  live,
  push,
  receipt,
} from '../drill/history/history-builder.js';

const SILENT_MS = 46_000;
/** End of the pushes; those of the builders are sent at 10 s. */
const ENDED_MS = 11_000;
const open = { closedAtMs: Number.POSITIVE_INFINITY };
const stored = push(1, [attempt('STORED', '5-0')]);

describe('a window', () => {
  const received = history({
    pushes: [stored],
    connections: [connection([receipt(1, '5-0')], open)],
  });
  const missing = history({ pushes: [stored], connections: [connection([], open)] });

  test('is complete some seconds after everything was received', () => {
    expect(stateOf(received, ENDED_MS, ENDED_MS, ENDED_MS + 2_000)).toBe('pending');
    expect(stateOf(received, ENDED_MS, ENDED_MS, ENDED_MS + 2_600)).toBe('complete');
  });

  test('waits for what is missing until the connection has proven that it is not on its way', () => {
    expect(stateOf(missing, ENDED_MS, undefined, 60_000)).toBe('pending');
    expect(stateOf(missing, ENDED_MS, ENDED_MS + 9_000, 60_000)).toBe('pending');
    expect(stateOf(missing, ENDED_MS, ENDED_MS + 10_000, 60_000)).toBe('complete');
    const reconnected = {
      ...missing,
      connections: [connection([], { ...open, openedAtMs: 20_000 })],
    };
    expect(stateOf(reconnected, ENDED_MS, 29_000, 60_000)).toBe('pending');
    expect(stateOf(reconnected, ENDED_MS, 30_000, 60_000)).toBe('complete');
  });

  test('waits for the answer to each push, and is given up in the end', () => {
    const undecided = history({ pushes: [push(1, [attempt('UNKNOWN')])] });
    expect(stateOf(undecided, ENDED_MS, 60_000, 60_000)).toBe('pending');
    expect(stateOf(undecided, ENDED_MS, 60_000, ENDED_MS + JUDGED_MS_MAX + 1)).toBe('abandoned');
    const unanswered = { ...attempt('WRITTEN'), endedAtMs: Number.POSITIVE_INFINITY };
    const waiting = history({ pushes: [live(1, [unanswered])] });
    expect(stateOf(waiting, ENDED_MS, 60_000, 60_000)).toBe('pending');
  });

  test('does not wait for a live-only push', () => {
    const offline = history({ pushes: [live(1, [attempt('OFFLINE')])] });
    expect(stateOf(offline, ENDED_MS, undefined, 60_000)).toBe('complete');
  });
});

describe('the judgement', () => {
  const checksOf = (parts: Parameters<typeof history>[0]) =>
    judge(history(parts), SILENT_MS).map(({ check }) => check);

  test('finds what was lost, doubled and answered falsely', () => {
    expect(checksOf({ pushes: [stored], connections: [connection([], open)] })).toEqual(['lost']);
    const twice = [receipt(1, '5-0'), receipt(1, '5-0', 10_020)];
    expect(checksOf({ pushes: [stored], connections: [connection(twice, open)] })).toEqual([
      'unexplainedDuplicates',
    ]);
    const written = push(1, [attempt('WRITTEN', '5-0')]);
    const later = connection([receipt(1, '5-0', 20_000)], { ...open, openedAtMs: 19_000 });
    expect(checksOf({ pushes: [written], connections: [later] })).toEqual(['falseVerdicts']);
  });

  test('takes the ids of pushes over MQTT from the answers', () => {
    const second = push(2, [attempt('WRITTEN', '6-0', 10_100)]);
    const inOrder = [receipt(1, MQTT_DURABLE), receipt(2, MQTT_DURABLE, 10_110)];
    const pushes = [stored, second];
    expect(checksOf({ pushes, connections: [connection(inOrder, open)] })).toEqual([]);
    const swapped = [receipt(2, MQTT_DURABLE, 10_200), receipt(1, MQTT_DURABLE, 10_210)];
    expect(checksOf({ pushes, connections: [connection(swapped, open)] })).toContain('outOfOrder');
  });

  test('does not blame a silent edge for what its device could not know', () => {
    const offline = live(1, [attempt('OFFLINE', '', 60_000)]);
    const ends = (closeReason: string) => [connection([], { closedAtMs: 80_000, closeReason })];
    expect(checksOf({ pushes: [offline], connections: ends('ECONNRESET') })).toEqual([
      'falseVerdicts',
    ]);
    expect(checksOf({ pushes: [offline], connections: ends('silent') })).toEqual([]);
  });

  test('does not blame the cluster while the canary itself did not run', () => {
    const late = connection([receipt(1, '5-0', 30_000)], open);
    expect(checksOf({ pushes: [stored], connections: [late] })).toEqual(['late']);
    const disturbances = [disturbance(10_000, 29_000)];
    expect(checksOf({ pushes: [stored], connections: [late], disturbances })).toEqual([]);
  });
});

test('the past is forgotten, and open connections keep what is new', () => {
  const old = connection([], { closedAtMs: 19_999 });
  const kept = connection([receipt(1, '5-0'), receipt(2, '6-0', 21_000)], open);
  kept.resetsAtMs.push(9_000, 22_000);
  const full: HistoryInProgress = {
    ...history({}),
    pushes: [stored, push(2, [attempt('WRITTEN', '6-0', 20_000)]), push(3, [])],
    connections: [old, kept],
    unansweredRequests: [{ clientId: 'alice', cursor: '', fromMs: 0, toMs: 5_000 }],
    absences: [absence(0, 10_000), absence(20_000, Number.POSITIVE_INFINITY)],
    disturbances: [disturbance(0, 1_000), disturbance(0, 15_000)],
  } as HistoryInProgress;
  forget(full, 20_000);
  expect(full.pushes.map(({ number }) => number)).toEqual([2]);
  expect(full.connections).toEqual([{ ...kept, receipts: [receipt(2, '6-0', 21_000)] }]);
  expect(full.connections[0]!.resetsAtMs).toEqual([22_000]);
  expect(full.unansweredRequests).toEqual([]);
  expect(full.absences).toHaveLength(1);
  expect(full.disturbances).toEqual([disturbance(0, 15_000)]);
});

test('latencies are of first receipts on connections that were open at the push', () => {
  const pushes = [stored, push(2, [attempt('STORED', '6-0', 30_000)])];
  const connections = [
    connection([receipt(1, '5-0'), receipt(1, '5-0', 10_500)], { closedAtMs: 29_000 }),
    connection([receipt(2, '6-0', 32_000)], { ...open, openedAtMs: 31_000 }),
  ];
  expect(latenciesOf(history({ pushes, connections }), pushes)).toEqual([10]);
});

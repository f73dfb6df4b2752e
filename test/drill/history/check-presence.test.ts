/**
 * By default, the watch lasts until END_MS, and `alice` is connected to edge-1 for all the time.
 */
import { expect, test } from '@jest/globals';
import { check } from '../../../drill/history/check.js';
import type { History, PresenceReport } from '../../../drill/history/history.js';
import { connection, disturbance, END_MS, history } from './history-builder.js';

const watch = { openedAtMs: 0, endedAtMs: END_MS };

function report(type: string, atMs: number, edge: string, fromEdge = ''): PresenceReport {
  return { watch, atMs, type, clientId: 'alice', edge, fromEdge };
}

const state = (edge: string, atMs = 1) => report('state', atMs, edge);
const came = (atMs: number, edge = 'edge-1') => report('client.connected', atMs, edge);
const moved = (atMs: number, fromEdge: string, edge: string) =>
  report('client.moved', atMs, edge, fromEdge);
const left = (atMs: number, edge = 'edge-1') => report('client.disconnected', atMs, edge);

const loss = {
  ...disturbance(40_000, 45_000),
  loss: { levels: ['accepted'], fromMs: 39_000, toMs: 45_000 } as const,
};

const found = (presence: PresenceReport[], parts: Partial<History> = {}) => {
  const findings = check(history({ connections: [connection([])], presence, ...parts }));
  return [...new Set(findings.map((finding) => finding.check))];
};

test.each([
  ['the state', [state('edge-1')]],
  ['changes that follow from it', [state(''), came(2), left(3), came(4)]],
  ['a move', [state('edge-2'), moved(2, 'edge-2', 'edge-1')]],
  ['the state again, after changes were lost', [state('edge-2'), state('edge-1', 9)]],
])('allows %s', (_, presence) => {
  expect(found(presence)).toEqual([]);
});

test.each([
  ['a beginning of a client that is connected', [state('edge-1'), came(2)]],
  ['an end of a client that is not connected', [state(''), left(2), came(3)]],
  ['an end at another edge', [state('edge-2'), left(2), came(3)]],
  ['a move from another edge', [state('edge-2'), moved(2, 'edge-3', 'edge-1')]],
  ['another edge in the end', [state('edge-2')]],
  ['that it is not connected in the end', [state('edge-1'), left(2)]],
])('finds %s', (_, presence) => {
  expect(found(presence)).toEqual(['falsePresence']);
});

test('says nothing about changes that Redis may have lost', () => {
  const presence = [state('edge-2', 41_000), came(44_000)];
  expect(found(presence)).toEqual(['falsePresence']);
  expect(found(presence, { disturbances: [loss] })).toEqual([]);
});

test('says nothing about a client that has just connected', () => {
  const connections = [connection([], { requestedAtMs: END_MS - 100, openedAtMs: END_MS - 90 })];
  expect(found([state('')], { connections })).toEqual([]);
});

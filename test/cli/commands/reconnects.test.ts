import { expect, test } from '@jest/globals';
import { reconnectLines } from '../../../cli/commands/clients/reconnects.js';
import type { ClientView } from '../../../cli/control/api.js';

const clientWith = (reconnects: ClientView['reconnects']) => ({ reconnects }) as ClientView;

test('says how many connections ended on which edge, and why', () => {
  const reasons = ['push_too_large', 'goaway', 'push_too_large', 'later-reason'];
  expect(reconnectLines(clientWith([{ edgeId: 'edge-1', ends: 12, reasons }]))).toEqual([
    ['reconnects', '12 connections on edge-1 ended in the last minute'],
    ['', '2 of the last 4: push_too_large, a push was too large for the client'],
    ['', '1 of the last 4: goaway, the edge sent a GOAWAY'],
    ['', '1 of the last 4: later-reason'],
  ]);
});

test('says nothing about other clients, or if control is of an earlier version', () => {
  expect(reconnectLines(clientWith([]))).toEqual([]);
  expect(reconnectLines(clientWith(undefined))).toEqual([]);
});

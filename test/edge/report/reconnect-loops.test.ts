import { expect, test } from '@jest/globals';
import {
  LOOP_ENDS_MIN,
  LOOP_WINDOW_MS,
  ReconnectLoops,
} from '../../../edge/report/reconnect-loops.js';

function ended(loops: ReconnectLoops, clientId: string, times: number, nowMs = 0): void {
  for (let i = 0; i < times; i++) loops.add(clientId, 'peer', nowMs);
}

test('reports a client from the fifth end within a minute on', () => {
  const loops = new ReconnectLoops();
  ended(loops, 'alice', LOOP_ENDS_MIN - 1);
  expect(loops.read(0)).toEqual([]);
  loops.add('alice', 'error', 10);
  const reasons = ['error', ...Array(LOOP_ENDS_MIN - 1).fill('peer')];
  expect(loops.read(10)).toEqual([{ clientId: 'alice', ends: LOOP_ENDS_MIN, reasons }]);
  expect(loops.read(LOOP_WINDOW_MS)).toEqual([]);
});

test('names the latest client first', () => {
  const loops = new ReconnectLoops();
  ended(loops, 'alice', LOOP_ENDS_MIN);
  ended(loops, 'bob', LOOP_ENDS_MIN);
  expect(loops.read(0).map(({ clientId }) => clientId)).toEqual(['bob', 'alice']);
});

test('forgets the client whose connection ended first when there are too many', () => {
  const loops = new ReconnectLoops();
  ended(loops, 'alice', LOOP_ENDS_MIN);
  for (let i = 0; i < 1_024; i++) ended(loops, `other-${i}`, 1);
  expect(loops.read(0)).toEqual([]);
  ended(loops, 'bob', 150);
  expect(loops.read(0)).toEqual([
    { clientId: 'bob', ends: 100, reasons: Array(LOOP_ENDS_MIN).fill('peer') },
  ]);
});

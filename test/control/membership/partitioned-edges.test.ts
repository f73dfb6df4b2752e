import { expect, test } from '@jest/globals';
import { CutOff } from '../../../control/membership/partitioned-edges.js';

const LEASE_MS = 10_000;

function say(cutOff: CutOff, nowMs: number, ids: readonly string[]): void {
  for (const id of ['a', 'b', 'c', 'd']) cutOff.hear(nowMs, id, !ids.includes(id));
}

test.each([
  [1, 1, true],
  [2, 1, true],
  [2, 2, false],
  [3, 2, false],
  [4, 2, true],
  [4, 3, false],
])('of %i edges, %i are not ready: cut off %s', (members, count, isCutOff) => {
  const cutOff = new CutOff(LEASE_MS);
  const ids = ['a', 'b', 'c', 'd'].slice(0, count);
  for (const nowMs of [0, 2_000, 10_000]) {
    say(cutOff, nowMs, ids);
    expect([...cutOff.judge(nowMs, members)]).toEqual([]);
  }
  say(cutOff, 10_001, ids);
  expect([...cutOff.judge(10_001, members)]).toEqual(isCutOff ? ids : []);
});

test('begins anew whenever it was ready, or is forgotten', () => {
  for (const heal of ['ready', 'forget']) {
    const cutOff = new CutOff(LEASE_MS);
    say(cutOff, 0, ['a']);
    if (heal === 'ready') say(cutOff, 9_000, []);
    else cutOff.forget('a');
    say(cutOff, 9_001, ['a']);
    expect(cutOff.judge(19_001, 4).size).toBe(0);
    expect(cutOff.judge(19_002, 4).size).toBe(1);
  }
});

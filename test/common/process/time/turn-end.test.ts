import { expect, test } from '@jest/globals';
import { atTurnEnd } from '../../../../common/process/time/turn-end.js';

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

test('runs everything at the end of the same turn, in order, also what is added there', async () => {
  const order: string[] = [];
  atTurnEnd(() => {
    order.push('first');
    atTurnEnd(() => order.push('added'));
  });
  atTurnEnd(() => order.push('second'));
  const immediate = nextTurn().then(() => order.push('immediate'));
  expect(order).toEqual([]);
  await immediate;
  expect(order).toEqual(['first', 'second', 'added', 'immediate']);
});

test('runs what is added in later turns', async () => {
  let runs = 0;
  for (let turn = 0; turn < 3; turn++) {
    atTurnEnd(() => runs++);
    await nextTurn();
  }
  expect(runs).toBe(3);
});

import { expect, test } from '@jest/globals';
import { EventLoopLag, MessageRates, memoryHeadroom } from '../../edge/load.js';

test('message rates are over the time since they were read last', () => {
  const rates = new MessageRates(4, 0);
  rates.count(1, 10);
  rates.count(1, 10);
  rates.count(3, 4);
  expect([...rates.read(2_000)]).toEqual([0, 10, 0, 2]);
  // Too soon to tell anything new; nothing is forgotten by asking.
  rates.count(1, 3);
  expect([...rates.read(2_100)]).toEqual([0, 10, 0, 2]);
  expect([...rates.read(5_000)]).toEqual([0, 1, 0, 0]);
  expect([...rates.read(7_000)]).toEqual([0, 0, 0, 0]);
});

test('memory headroom goes by the tighter of control group and machine', () => {
  expect(memoryHeadroom(25, 100, 1_000)).toBe(0.75);
  expect(memoryHeadroom(25, 2 ** 64, 1_000)).toBe(0.975);
  expect(memoryHeadroom(25, 0, 1_000)).toBe(0.975);
  expect(memoryHeadroom(200, 100, 1_000)).toBe(0);
});

test('a blocked event loop is late, an idle one is not', async () => {
  const lag = new EventLoopLag();
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  expect(lag.read()).toBeLessThan(30);
  for (let i = 0; i < 4; i++) {
    const untilMs = performance.now() + 250;
    while (performance.now() < untilMs);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(lag.read()).toBeGreaterThan(150);
});

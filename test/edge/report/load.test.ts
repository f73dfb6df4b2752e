import { expect, test } from '@jest/globals';
import { EventLoopLag, MessageRates } from '../../../edge/report/load.js';
import { eventually } from '../../support/eventually.js';

test('message rates are correct from the first reading, and reading loses no counts', () => {
  const rates = new MessageRates(4, 0);
  rates.count(1, 10);
  rates.count(1, 10);
  rates.count(3, 4);
  expect([...rates.read(2_000)]).toEqual([0, 10, 0, 2]);
  // Too soon for a new measurement.
  rates.count(1, 20);
  expect([...rates.read(2_100)]).toEqual([0, 10, 0, 2]);
  expect(rates.read(4_000)[1]).toBeCloseTo(10, 3);
});

test('message rates even out chance, and follow lasting changes', () => {
  const rates = new MessageRates(2, 0);
  let nowMs = 0;
  const pass = (seconds: number, perSecond: number) => {
    // One reading in ten has all the messages.
    for (const endMs = nowMs + seconds * 1_000; nowMs < endMs; ) {
      nowMs += 2_000;
      if (nowMs % 20_000 === 0) rates.count(0, perSecond * 20);
      rates.read(nowMs);
    }
    return rates.read(nowMs)[0]!;
  };
  expect(Math.abs(pass(300, 5) - 5)).toBeLessThan(1);
  expect(Math.abs(pass(300, 20) - 20)).toBeLessThan(4);
  expect(pass(300, 0)).toBeLessThan(0.2);
});

test('a blocked event loop has lag, an idle one has not', async () => {
  const lag = new EventLoopLag();
  for (let i = 0; i < 4; i++) {
    const untilMs = performance.now() + 250;
    while (performance.now() < untilMs);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const blockedMs = lag.read();
  expect(blockedMs).toBeGreaterThan(150);
  // With other tests running, an idle loop has some lag as well, but not in every second.
  await eventually(() => expect(lag.read()).toBeLessThan(blockedMs / 2));
});

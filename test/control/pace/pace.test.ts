import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Pacer, type ReceiverReport } from '../../../control/pace/pace.js';

const donors = [
  { edgeId: 'a', clientsRemaining: 3_000 },
  { edgeId: 'b', clientsRemaining: 1_000 },
];
const receiver = (nowMs: number, more: Partial<ReceiverReport> = {}): ReceiverReport => ({
  edgeId: 'r',
  isAlive: true,
  atMs: nowMs,
  handshakesPending: 0,
  eventLoopLagP99Ms: 5,
  memoryHeadroom: 0.5,
  ...more,
});

/** Steps every two seconds; returns the last pace. */
function run(pacer: Pacer, fromMs: number, steps: number, more: Partial<ReceiverReport> = {}) {
  let pace = pacer.step(fromMs, donors, [receiver(fromMs, more)]);
  for (let step = 1; step < steps; step++) {
    const nowMs = fromMs + step * 2_000;
    pace = pacer.step(nowMs, donors, [receiver(nowMs, more)]);
  }
  return pace;
}

test('starts at a low rate, and rises to the budget while receivers are idle', () => {
  const pacer = new Pacer({ perSecondMax: 1_000 });
  expect(run(pacer, 0, 1)).toMatchObject({ perSecond: 40, reason: 'idle' });
  expect(run(pacer, 2_000, 4).perSecond).toBe(120);
  expect(run(pacer, 10_000, 50).perSecond).toBe(1_000);
});

test.each<[string, Partial<ReceiverReport>]>([
  ['handshakes are pending', { handshakesPending: 65 }],
  ['the event loop lags', { eventLoopLagP99Ms: 21 }],
  ['memory is low', { memoryHeadroom: 0.09 }],
])('halves the rate when %s', (_, pressure) => {
  const pacer = new Pacer({ perSecondMax: 1_000 });
  run(pacer, 0, 50);
  expect(run(pacer, 100_000, 1, pressure)).toMatchObject({ perSecond: 500, reason: 'pressure' });
  expect(run(pacer, 102_000, 50, pressure).perSecond).toBe(1);
});

test('remembers pressure until the next adjustment', () => {
  const pacer = new Pacer({ perSecondMax: 1_000 });
  run(pacer, 0, 50);
  pacer.step(99_000, donors, [receiver(99_000, { handshakesPending: 65 })]);
  expect(run(pacer, 100_000, 1)).toMatchObject({ perSecond: 500, reason: 'pressure' });
  expect(run(pacer, 102_000, 1)).toMatchObject({ perSecond: 520, reason: 'idle' });
});

test('does not raise a rate that is not used', () => {
  const pacer = new Pacer({ perSecondMax: 1_000 });
  const few = [{ edgeId: 'a', clientsRemaining: 50 }];
  const rates = [0, 2_000, 4_000, 6_000].map(
    (nowMs) => pacer.step(nowMs, few, [receiver(nowMs)]).perSecond,
  );
  expect(rates).toEqual([40, 60, 60, 60]);
});

test('values at the limits are not pressure', () => {
  const bounds = { handshakesPending: 64, eventLoopLagP99Ms: 20, memoryHeadroom: 0.1 };
  expect(run(new Pacer({ perSecondMax: 1_000 }), 0, 1, bounds).reason).toBe('idle');
});

test('holds its rate while a receiver does not report', () => {
  const pacer = new Pacer({ perSecondMax: 1_000 });
  expect(run(pacer, 10_000, 3, { atMs: 0 })).toMatchObject({ perSecond: 20, reason: 'held' });
  expect(pacer.step(20_000, donors, []).reason).toBe('held');
});

test('stops when a receiver dies, and starts again at the initial rate', () => {
  const pacer = new Pacer({ perSecondMax: 1_000 });
  run(pacer, 0, 50);
  const dead = [receiver(100_000, { isAlive: false })];
  const stopped = pacer.step(100_000, donors, dead);
  expect(stopped).toMatchObject({ perSecond: 0, reason: 'stopped', secondsRemaining: Infinity });
  expect([...stopped.byEdge.values()]).toEqual([0, 0]);
  expect(pacer.step(109_000, donors, []).reason).toBe('stopped');
  expect(run(pacer, 110_000, 1).perSecond).toBe(40);
});

test('starts again at the initial rate after ten idle seconds, not earlier', () => {
  const pacer = new Pacer({ perSecondMax: 1_000 });
  run(pacer, 0, 50);
  expect(run(pacer, 106_000, 1).perSecond).toBe(1_000);
  expect(run(pacer, 116_000, 1).perSecond).toBe(40);
});

test('divides the rate by remaining clients, and estimates the remaining time', () => {
  const pace = run(new Pacer({ perSecondMax: 4_000 }), 0, 100);
  expect([...pace.byEdge]).toEqual([
    ['a', 3_000],
    ['b', 1_000],
  ]);
  expect(pace.secondsRemaining).toBe(1);
});

test('has nothing to do when no clients remain', () => {
  const pacer = new Pacer({ perSecondMax: 1_000 });
  const pace = pacer.step(0, [{ edgeId: 'a', clientsRemaining: 0 }], [receiver(0)]);
  expect(pace).toMatchObject({ perSecond: 0, secondsRemaining: 0, reason: 'nothing-to-do' });
});

test('never exceeds the budget, for any steps', () => {
  const report = fc.record({
    edgeId: fc.constantFrom('r', 's'),
    isAlive: fc.boolean(),
    atMs: fc.nat(100_000),
    handshakesPending: fc.nat(100),
    eventLoopLagP99Ms: fc.nat(80),
    memoryHeadroom: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  const step = fc.tuple(fc.nat(4_000), fc.array(report, { maxLength: 3 }), fc.nat(5_000));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5_000 }), fc.array(step), (perSecondMax, steps) => {
      const pacer = new Pacer({ perSecondMax });
      let nowMs = 0;
      for (const [ms, reports, clientsRemaining] of steps) {
        nowMs += ms;
        const pace = pacer.step(nowMs, [{ edgeId: 'c', clientsRemaining }, ...donors], reports);
        expect(pace.perSecond).toBeGreaterThanOrEqual(0);
        expect(pace.perSecond).toBeLessThanOrEqual(perSecondMax);
        const sum = [...pace.byEdge.values()].reduce((total, rate) => total + rate, 0);
        expect(sum).toBeCloseTo(pace.perSecond, 6);
      }
    }),
  );
});

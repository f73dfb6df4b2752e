import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { HANDSHAKE_STEP_MS, Handshakes, type Pressure } from '../../../edge/accept/handshakes.js';

const OPTIONS = { perSecondMax: 3_000, pendingMax: 100, timeoutMs: 5_000 };
/** Admissions per step at the full rate. */
const PER_STEP = (OPTIONS.perSecondMax * HANDSHAKE_STEP_MS) / 1_000;
/** Initial rate per second, before the load of the edge is known. */
const AT_FIRST = 2_000;
const AT_LEAST = 300;
/** Devices beyond the rate after a quiet time, and how many of them in one step. */
const BURST = 300;
const BURST_PER_STEP = 100;
/** Steps between two cuts of the rate. */
const CUT_STEPS = 5;
const isConnected = () => true;
const calm: Pressure = { lateMs: 0, reads: 0, pushes: 0 };
/** Late only for an edge that writes pushes: a push was written before the `n`-th step. */
const late = (n: number): Pressure => ({ lateMs: 6, reads: 0, pushes: n + 1 });

/** Handshakes with one queued device, because the burst is used up. */
function busy(): Handshakes<string> {
  const handshakes = new Handshakes<string>(OPTIONS);
  while (handshakes.offer(0, 'first', true, false) === 'admitted');
  return handshakes;
}

/** Queues and admits devices until no burst is left. */
function useBurst(handshakes: Handshakes<string>): void {
  for (let admitted = 0; admitted < 10 * BURST; ) {
    while (handshakes.offer(0, 'x', true, false) !== 'rejected');
    admitted += handshakes.step(0, calm, isConnected).admitted.length;
  }
}

describe('Handshakes', () => {
  test('admits at once while there are few', () => {
    const handshakes = new Handshakes<string>(OPTIONS);
    for (let step = 1; step < 50; step++) {
      expect(handshakes.offer(step * HANDSHAKE_STEP_MS, 'x', false, false)).toBe('admitted');
      handshakes.step(step * HANDSHAKE_STEP_MS, calm, isConnected);
    }
  });

  test('admits returning devices first, in the order of their arrival', () => {
    const handshakes = busy();
    const offers = ['new-1', 'old-1', 'new-2', 'old-2'];
    let admitted: string[] = [];
    for (const name of offers) handshakes.offer(0, name, name.startsWith('old'), false);
    while (handshakes.queuedCount > 0) {
      admitted = [...admitted, ...handshakes.step(0, calm, isConnected).admitted];
    }
    expect(admitted.filter((name) => offers.includes(name))).toEqual([
      'old-1',
      'old-2',
      'new-1',
      'new-2',
    ]);
  });

  test('rejects new devices at half of the room, returning ones at all of it', () => {
    const handshakes = busy();
    const offer = (isResuming: boolean) => handshakes.offer(0, 'x', isResuming, false);
    while (offer(false) !== 'rejected');
    expect(handshakes.queuedCount).toBe(OPTIONS.pendingMax / 2);
    while (offer(true) !== 'rejected');
    expect(handshakes.queuedCount).toBe(OPTIONS.pendingMax);
  });

  test('rejects new devices while the edge is short of memory', () => {
    const handshakes = new Handshakes<string>(OPTIONS);
    expect(handshakes.offer(0, 'x', false, true)).toBe('rejected');
    expect(handshakes.offer(0, 'x', true, true)).toBe('admitted');
  });

  test('returns devices that have waited too long, and skips those that have disconnected', () => {
    const handshakes = busy();
    for (const name of ['closed', 'open']) handshakes.offer(0, name, true, false);
    const { expired } = handshakes.step(OPTIONS.timeoutMs + 1, calm, (name) => name === 'open');
    expect(expired).toEqual(['open']);
    expect(handshakes.queuedCount).toBe(0);
  });

  test.each([
    ['the event loop is late', { lateMs: 6, reads: 0 }],
    ['inboxes are not read in time', { lateMs: 0, reads: 17 }],
  ])('the rate falls to a minimum while %s, and recovers', (_, load) => {
    const handshakes = new Handshakes<string>(OPTIONS);
    const step = (i: number, pressure: Pressure) =>
      handshakes.step(i * HANDSHAKE_STEP_MS, pressure, isConnected);
    for (let i = 0; i < 100; i++) step(i, { ...load, pushes: i + 1 });
    expect(handshakes.perSecond).toBe(AT_LEAST);
    for (let i = 100; i < 300; i++) step(i, { ...calm, pushes: i + 1 });
    expect(handshakes.perSecond).toBe(AT_FIRST);
  });

  test('one late moment lowers the rate once', () => {
    const handshakes = new Handshakes<string>(OPTIONS);
    for (let i = 0; i < CUT_STEPS; i++) handshakes.step(0, late(i), isConnected);
    expect(handshakes.perSecond).toBeCloseTo(0.67 * AT_FIRST);
    handshakes.step(0, late(CUT_STEPS), isConnected);
    expect(handshakes.perSecond).toBeCloseTo(0.67 ** 2 * AT_FIRST);
  });

  test('a later event loop is permitted while no pushes are written', () => {
    const rateAfter = (pressures: Pressure[]) => {
      const handshakes = new Handshakes<string>(OPTIONS);
      for (const pressure of pressures) handshakes.step(0, pressure, isConnected);
      return handshakes.perSecond;
    };
    const steps = (count: number, pressure: Pressure) => Array<Pressure>(count).fill(pressure);
    expect(rateAfter(steps(50, { lateMs: 50, reads: 64, pushes: 0 }))).toBe(AT_FIRST);
    expect(rateAfter(steps(50, { lateMs: 51, reads: 0, pushes: 0 }))).toBeLessThan(AT_FIRST);
    expect(rateAfter(steps(50, { lateMs: 0, reads: 65, pushes: 0 }))).toBeLessThan(AT_FIRST);
    // For a second after a push.
    const pushed = [{ ...calm, pushes: 1 }];
    const after = { lateMs: 50, reads: 0, pushes: 1 };
    expect(rateAfter([...pushed, ...steps(1, after)])).toBeLessThan(AT_FIRST);
    expect(rateAfter([...pushed, ...steps(49, { ...calm, pushes: 1 }), after])).toBe(AT_FIRST);
  });

  test('accepts no connection while the queue takes more than ten seconds', () => {
    const handshakes = new Handshakes<string>({ ...OPTIONS, pendingMax: 100_000 });
    const queue = (length: number) => {
      while (handshakes.queuedCount < length) handshakes.offer(0, 'x', true, false);
    };
    queue(10 * AT_FIRST);
    expect(handshakes.accepts).toBeGreaterThan(0);
    queue(10 * AT_FIRST + 1);
    expect(handshakes.accepts).toBe(0);
    handshakes.step(0, calm, isConnected);
    expect(handshakes.accepts).toBeGreaterThan(0);
  });

  test('the rate grows to the configured one while devices wait, and then returns to its start', () => {
    const handshakes = busy();
    const rates = Array.from({ length: 300 }, (_, i) => {
      while (handshakes.offer(i * HANDSHAKE_STEP_MS, 'x', true, false) !== 'rejected');
      handshakes.step(i * HANDSHAKE_STEP_MS, calm, isConnected);
      return handshakes.perSecond;
    });
    expect(rates[0]).toBeLessThan(1.1 * AT_FIRST);
    expect(rates.at(-1)).toBe(OPTIONS.perSecondMax);
    for (let i = 300; i < 500; i++) handshakes.step(i * HANDSHAKE_STEP_MS, calm, isConnected);
    expect(handshakes.perSecond).toBe(AT_FIRST);
  });

  test('admits some devices beyond the rate after a quiet time, late or not, and keeps the rate', () => {
    const handshakes = new Handshakes<number>({ ...OPTIONS, pendingMax: 10_000 });
    let steps = 0;
    const step = () => handshakes.step(0, late(steps++), isConnected).admitted.length;
    const quiet = (count: number) => {
      for (; count > 0; count--) handshakes.step(0, { ...calm, pushes: steps++ }, isConnected);
    };
    const queue = (count: number) => {
      for (let i = 0; i < count; ) if (handshakes.offer(0, i, true, false) === 'queued') i++;
    };
    const ofRate = (AT_FIRST * HANDSHAKE_STEP_MS) / 1_000;
    queue(1_000);
    const admitted = Array.from({ length: 4 }, step);
    expect(admitted).toEqual([...Array(3).fill(ofRate + BURST_PER_STEP), ofRate]);
    expect(handshakes.perSecond).toBe(AT_FIRST);
    while (handshakes.queuedCount > 0) step();
    expect(handshakes.perSecond).toBe(AT_LEAST);
    quiet(600);
    queue(1_000);
    expect(step()).toBe(ofRate + BURST_PER_STEP);
    // A short pause gives back a part of it.
    while (handshakes.queuedCount > 0) step();
    quiet(50);
    queue(1_000);
    expect(step()).toBeLessThan(ofRate + BURST_PER_STEP / 2);
  });

  test('accepts more connections than it admits devices', () => {
    const handshakes = new Handshakes<string>(OPTIONS);
    expect(handshakes.accepts).toBe(60 + BURST_PER_STEP);
    useBurst(handshakes);
    expect(handshakes.perSecond).toBe(OPTIONS.perSecondMax);
    expect(handshakes.accepts).toBe(1.5 * PER_STEP);
  });

  test('keeps a configured rate below the minimum', () => {
    const handshakes = new Handshakes<string>({ ...OPTIONS, perSecondMax: 3 });
    expect(handshakes.perSecond).toBe(3);
    handshakes.step(0, { lateMs: 100, reads: 0, pushes: 0 }, isConnected);
    expect(handshakes.perSecond).toBe(3);
  });

  test('admits all at once if not paced', () => {
    const handshakes = new Handshakes<number>({ ...OPTIONS, perSecondMax: 0 });
    for (let i = 0; i < 10_000; i++) expect(handshakes.offer(0, i, false, false)).toBe('admitted');
    handshakes.step(0, { lateMs: 1_000, reads: 1_000, pushes: 0 }, isConnected);
    expect(handshakes.offer(0, 0, false, false)).toBe('admitted');
    expect(handshakes.accepts).toBe(Number.POSITIVE_INFINITY);
    expect(handshakes.offer(0, 0, false, true)).toBe('rejected');
  });

  test('never admits more than the rate and a burst, and loses no device', () => {
    const action = fc.record({
      offers: fc.nat(40),
      isResuming: fc.boolean(),
      lateMs: fc.nat(20),
      reads: fc.nat(50),
      pushes: fc.nat(1),
    });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
        const handshakes = new Handshakes<number>(OPTIONS);
        const counts = { admitted: 0, queued: 0 };
        for (const [i, { offers, isResuming, ...pressure }] of actions.entries()) {
          const nowMs = i * HANDSHAKE_STEP_MS;
          for (let n = 0; n < offers; n++) {
            const offer = handshakes.offer(nowMs, n, isResuming, false);
            if (offer === 'admitted') counts.admitted++;
            if (offer === 'queued') counts.queued++;
          }
          const { admitted, expired } = handshakes.step(nowMs, pressure, isConnected);
          counts.admitted += admitted.length;
          counts.queued -= admitted.length + expired.length;
          expect(handshakes.queuedCount).toBe(counts.queued);
          expect(counts.queued).toBeLessThanOrEqual(OPTIONS.pendingMax);
          expect(counts.admitted).toBeLessThanOrEqual((i + 1 + 2) * PER_STEP);
        }
      }),
    );
  });
});

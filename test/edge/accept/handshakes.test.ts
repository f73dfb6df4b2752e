import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { HANDSHAKE_STEP_MS, Handshakes, type Pressure } from '../../../edge/accept/handshakes.js';

const OPTIONS = { perSecondMax: 1_000, waitingMax: 100, waitMsMax: 5_000 };
/** What is let in per step at full rate. */
const PER_STEP = (OPTIONS.perSecondMax * HANDSHAKE_STEP_MS) / 1_000;
/** A second, before it is known what the edge can bear. */
const AT_FIRST = 500;
const AT_LEAST = 200;
const isHere = () => true;
const calm: Pressure = { lateMs: 0, reads: 0 };

/** A queue in which one is waiting, because the burst is used up. */
function busy(): Handshakes<string> {
  const handshakes = new Handshakes<string>(OPTIONS);
  while (handshakes.offer(0, 'first', true, false) === 'enter');
  return handshakes;
}

describe('Handshakes', () => {
  test('nobody waits while there are few', () => {
    const handshakes = new Handshakes<string>(OPTIONS);
    for (let step = 1; step < 50; step++) {
      expect(handshakes.offer(step * HANDSHAKE_STEP_MS, 'x', false, false)).toBe('enter');
      handshakes.step(step * HANDSHAKE_STEP_MS, calm, isHere);
    }
  });

  test('whoever was connected before goes first, in the order in which they came', () => {
    const handshakes = busy();
    const offers = ['new-1', 'old-1', 'new-2', 'old-2'];
    let entered: string[] = [];
    for (const name of offers) handshakes.offer(0, name, name.startsWith('old'), false);
    while (handshakes.waitingCount > 0) {
      entered = [...entered, ...handshakes.step(0, calm, isHere).entering];
    }
    expect(entered.filter((name) => offers.includes(name))).toEqual([
      'old-1',
      'old-2',
      'new-1',
      'new-2',
    ]);
  });

  test('new devices are rejected at half of the room, others at all of it', () => {
    const handshakes = busy();
    const offer = (isResuming: boolean) => handshakes.offer(0, 'x', isResuming, false);
    while (offer(false) !== 'rejected');
    expect(handshakes.waitingCount).toBe(OPTIONS.waitingMax / 2);
    while (offer(true) !== 'rejected');
    expect(handshakes.waitingCount).toBe(OPTIONS.waitingMax);
  });

  test('an edge that is short of memory takes nobody new', () => {
    const handshakes = new Handshakes<string>(OPTIONS);
    expect(handshakes.offer(0, 'x', false, true)).toBe('rejected');
    expect(handshakes.offer(0, 'x', true, true)).toBe('enter');
  });

  test('whoever has waited for too long is told so, and whoever has gone is passed over', () => {
    const handshakes = busy();
    for (const name of ['gone', 'here']) handshakes.offer(0, name, true, false);
    const { late } = handshakes.step(OPTIONS.waitMsMax + 1, calm, (name) => name === 'here');
    expect(late).toEqual(['here']);
    expect(handshakes.waitingCount).toBe(0);
  });

  test.each([
    ['the event loop is late', { lateMs: 11, reads: 0 }],
    ['inboxes are not read in time', { lateMs: 0, reads: 17 }],
  ])('the rate falls while %s, but not to nothing, and comes back', (_, pressure) => {
    const handshakes = new Handshakes<string>(OPTIONS);
    for (let i = 0; i < 100; i++) handshakes.step(i * HANDSHAKE_STEP_MS, pressure, isHere);
    expect(handshakes.perSecond).toBe(AT_LEAST);
    for (let i = 0; i < 500; i++) handshakes.step(i * HANDSHAKE_STEP_MS, calm, isHere);
    expect(handshakes.perSecond).toBe(AT_FIRST);
  });

  test('the rate grows to what is configured while somebody waits, and is not kept for nobody', () => {
    const handshakes = busy();
    const rates = Array.from({ length: 300 }, (_, i) => {
      while (handshakes.offer(i * HANDSHAKE_STEP_MS, 'x', true, false) !== 'rejected');
      handshakes.step(i * HANDSHAKE_STEP_MS, calm, isHere);
      return handshakes.perSecond;
    });
    expect(rates[0]).toBeLessThan(1.1 * AT_FIRST);
    expect(rates.at(-1)).toBe(OPTIONS.perSecondMax);
    for (let i = 300; i < 500; i++) handshakes.step(i * HANDSHAKE_STEP_MS, calm, isHere);
    expect(handshakes.perSecond).toBe(AT_FIRST);
  });

  test('many are accepted while nobody waits, else some more than are let in', () => {
    expect(new Handshakes<string>(OPTIONS).accepts).toBe(20);
    const handshakes = busy();
    expect(handshakes.accepts).toBe(15);
    while (handshakes.perSecond < OPTIONS.perSecondMax) {
      while (handshakes.offer(0, 'x', true, false) !== 'rejected');
      handshakes.step(0, calm, isHere);
    }
    expect(handshakes.accepts).toBe(1.5 * PER_STEP);
  });

  test('a rate below the least of others is kept all the same', () => {
    const handshakes = new Handshakes<string>({ ...OPTIONS, perSecondMax: 3 });
    expect(handshakes.perSecond).toBe(3);
    handshakes.step(0, { lateMs: 100, reads: 0 }, isHere);
    expect(handshakes.perSecond).toBe(3);
  });

  test('without a pace everybody enters at once', () => {
    const handshakes = new Handshakes<number>({ ...OPTIONS, perSecondMax: 0 });
    for (let i = 0; i < 10_000; i++) expect(handshakes.offer(0, i, false, false)).toBe('enter');
    handshakes.step(0, { lateMs: 1_000, reads: 1_000 }, isHere);
    expect(handshakes.offer(0, 0, false, false)).toBe('enter');
    expect(handshakes.accepts).toBe(Number.POSITIVE_INFINITY);
    expect(handshakes.offer(0, 0, false, true)).toBe('rejected');
  });

  test('never lets in more than the rate and a burst, and loses nobody', () => {
    const action = fc.record({
      offers: fc.nat(40),
      isResuming: fc.boolean(),
      lateMs: fc.nat(20),
      reads: fc.nat(50),
    });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
        const handshakes = new Handshakes<number>(OPTIONS);
        const counts = { entered: 0, waiting: 0 };
        for (const [i, { offers, isResuming, ...pressure }] of actions.entries()) {
          const nowMs = i * HANDSHAKE_STEP_MS;
          for (let n = 0; n < offers; n++) {
            const offer = handshakes.offer(nowMs, n, isResuming, false);
            if (offer === 'enter') counts.entered++;
            if (offer === 'wait') counts.waiting++;
          }
          const { entering, late } = handshakes.step(nowMs, pressure, isHere);
          counts.entered += entering.length;
          counts.waiting -= entering.length + late.length;
          expect(handshakes.waitingCount).toBe(counts.waiting);
          expect(counts.waiting).toBeLessThanOrEqual(OPTIONS.waitingMax);
          expect(counts.entered).toBeLessThanOrEqual((i + 1 + 2) * PER_STEP);
        }
      }),
    );
  });
});

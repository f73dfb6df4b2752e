import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { HANDSHAKE_STEP_MS, Handshakes } from '../../edge/handshakes.js';

const OPTIONS = { perSecondMax: 1_000, waitingMax: 100, waitMsMax: 5_000 };
/** What is let in per step at full rate. */
const PER_STEP = (OPTIONS.perSecondMax * HANDSHAKE_STEP_MS) / 1_000;
const isHere = () => true;

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
      handshakes.step(step * HANDSHAKE_STEP_MS, 0, isHere);
    }
  });

  test('whoever was connected before goes first, in the order in which they came', () => {
    const handshakes = busy();
    const offers = ['new-1', 'old-1', 'new-2', 'old-2'];
    let entered: string[] = [];
    for (const name of offers) handshakes.offer(0, name, name.startsWith('old'), false);
    while (handshakes.waitingCount > 0) {
      entered = [...entered, ...handshakes.step(0, 0, isHere).entering];
    }
    expect(entered.filter((name) => offers.includes(name))).toEqual([
      'old-1',
      'old-2',
      'new-1',
      'new-2',
    ]);
  });

  test('new devices are refused at half of the room, others at all of it', () => {
    const handshakes = busy();
    const offer = (isResuming: boolean) => handshakes.offer(0, 'x', isResuming, false);
    while (offer(false) !== 'refused');
    expect(handshakes.waitingCount).toBe(OPTIONS.waitingMax / 2);
    while (offer(true) !== 'refused');
    expect(handshakes.waitingCount).toBe(OPTIONS.waitingMax);
  });

  test('an edge that is short of memory takes nobody new', () => {
    const handshakes = new Handshakes<string>(OPTIONS);
    expect(handshakes.offer(0, 'x', false, true)).toBe('refused');
    expect(handshakes.offer(0, 'x', true, true)).toBe('enter');
  });

  test('whoever has waited for too long is told so, and whoever has gone is passed over', () => {
    const handshakes = busy();
    for (const name of ['gone', 'here']) handshakes.offer(0, name, true, false);
    const { late } = handshakes.step(OPTIONS.waitMsMax + 1, 0, (name) => name === 'here');
    expect(late).toEqual(['here']);
    expect(handshakes.waitingCount).toBe(0);
  });

  test('the rate falls while the event loop is late, but not to nothing, and comes back', () => {
    const handshakes = new Handshakes<string>(OPTIONS);
    for (let i = 0; i < 100; i++) handshakes.step(i * HANDSHAKE_STEP_MS, 100, isHere);
    expect(handshakes.perSecond).toBe(100);
    for (let i = 0; i < 500; i++) handshakes.step(i * HANDSHAKE_STEP_MS, 0, isHere);
    expect(handshakes.perSecond).toBe(OPTIONS.perSecondMax);
  });

  test('never lets in more than the rate and a burst, and loses nobody', () => {
    const action = fc.record({ offers: fc.nat(40), isResuming: fc.boolean(), lateMs: fc.nat(60) });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
        const handshakes = new Handshakes<number>(OPTIONS);
        const counts = { entered: 0, waiting: 0 };
        for (const [i, { offers, isResuming, lateMs }] of actions.entries()) {
          const nowMs = i * HANDSHAKE_STEP_MS;
          for (let n = 0; n < offers; n++) {
            const offer = handshakes.offer(nowMs, n, isResuming, false);
            if (offer === 'enter') counts.entered++;
            if (offer === 'wait') counts.waiting++;
          }
          const { entering, late } = handshakes.step(nowMs, lateMs, isHere);
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

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { ClientAction } from '../../client/events.js';
import { isNewer, type ServerMessage } from '../../client/messages.js';
import { FAILURE, MachineHarness, WELCOME } from './machine-harness.js';

describe('any sequence of events', () => {
  const message = fc.oneof<fc.Arbitrary<ServerMessage>[]>(
    fc.constant(WELCOME),
    fc.constant({ type: 'reset' }),
    fc.constant({ type: 'expiring' }),
    fc.constant({ type: 'other' }),
    fc.record({ type: fc.constant('ticket' as const), ticket: fc.string() }),
    fc.record({ type: fc.constant('goaway' as const), retryMs: fc.nat(2_000) }),
    fc.nat(20).map((n) => ({ type: 'push' as const, push: { id: `1-${n}`, data: 'x' } })),
    fc.constant({ type: 'push' as const, push: { data: 'live' } }),
  );
  /** `age`: number of attempts since that of the event. */
  const occurrence = fc.oneof(
    { arbitrary: fc.record({ age: fc.constantFrom(0, 0, 0, 1), message }), weight: 10 },
    {
      arbitrary: fc.record({ age: fc.constantFrom(0, 1), failed: fc.constant(true) }),
      weight: 2,
    },
    { arbitrary: fc.record({ passMs: fc.nat(40_000) }), weight: 4 },
    { arbitrary: fc.record({ isTaken: fc.constantFrom(true, true, true, false) }), weight: 8 },
    { arbitrary: fc.constant({ nudge: true }), weight: 1 },
  );

  test.each([
    [true, true],
    [true, false],
    [false, true],
    [false, false],
  ])('keeps the invariants (WebSocket: %s, slow application: %s)', (hasWebSocket, isSlow) => {
    fc.assert(
      fc.property(
        fc.array(occurrence, { maxLength: 80 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (all, random) => {
          const harness = new MachineHarness({ hasWebSocket, isSync: false, random: () => random });
          const check = new InvariantChecker(!isSlow);
          check.step(harness, harness.step(null));
          for (const each of all) {
            if ('message' in each) {
              const attempt = harness.attempt - each.age;
              check.step(
                harness,
                harness.step({ type: 'message', attempt, message: each.message }),
              );
            } else if ('failed' in each) {
              const attempt = harness.attempt - each.age;
              check.step(harness, harness.step({ type: 'failed', attempt, failure: FAILURE }));
            } else if ('isTaken' in each) {
              check.settle(harness, each.isTaken);
            } else if ('passMs' in each) {
              check.step(harness, harness.advance(each.passMs));
            } else {
              check.step(harness, harness.step({ type: 'probe' }));
            }
            // An early call has no effect.
            if (harness.nowMs < harness.wakeAtMs) expect(harness.step(null)).toEqual([]);
          }
          check.step(harness, harness.step({ type: 'close' }));
          expect(harness.step({ type: 'probe' })).toEqual([]);
          expect(harness.advance(100_000)).toEqual([]);
        },
      ),
    );
  });
});

/** Checks the invariants in the header of `machine.ts` on the actions, as the application. */
class InvariantChecker {
  #isOpen = false;
  #isConnected = false;
  /** Delivery that the application has at the moment. */
  #current: (ClientAction & { type: 'deliver' }) | undefined;
  /** Since the newest gap. */
  #delivered = new Set<string>();
  #taken = '';
  #acked = '';

  /** @param isSync whether each delivery is taken at once */
  constructor(readonly isSync: boolean) {}

  step(harness: MachineHarness, actions: readonly ClientAction[]): void {
    for (const action of actions) this.#check(action);
    // There is a deadline unless the client is closed.
    const isClosed = actions.some(
      ({ type, ...rest }) => type === 'state' && 'state' in rest && rest.state.type === 'closed',
    );
    expect(harness.wakeAtMs === Number.POSITIVE_INFINITY).toBe(isClosed);
    if (this.isSync && !isClosed) this.settle(harness, true);
  }

  settle(harness: MachineHarness, isTaken: boolean): void {
    const { delivery, push } = this.#current ?? {};
    if (delivery === undefined) return;
    this.#current = undefined;
    if (push === undefined) this.#delivered.clear();
    if (!isTaken && push?.id !== undefined) this.#delivered.delete(push.id);
    if (isTaken && push === undefined) this.#acked = '';
    if (isTaken) this.#taken = push === undefined ? '' : (push.id ?? this.#taken);
    this.step(harness, harness.settle(isTaken ? undefined : 'an error', delivery));
  }

  #check(action: ClientAction): void {
    switch (action.type) {
      case 'open':
        expect(this.#isOpen).toBe(false);
        this.#isOpen = true;
        expect(action.lastEventId).toBe(this.#taken);
        return;
      case 'abort':
        this.#isOpen = false;
        return;
      case 'state':
        this.#isConnected = action.state.type === 'connected';
        return;
      case 'deliver': {
        expect(this.#current).toBeUndefined();
        this.#current = action;
        const id = action.push?.id;
        if (id === undefined) return;
        expect(this.#delivered.has(id)).toBe(false);
        this.#delivered.add(id);
        return;
      }
      case 'send':
        expect(this.#isConnected).toBe(true);
        if (action.message.type !== 'ack') return;
        // Only what the application has taken is confirmed, each id once.
        expect(isNewer(action.message.id, this.#taken)).toBe(false);
        expect(action.message.id).not.toBe(this.#acked);
        this.#acked = action.message.id;
        return;
      case 'renew-token':
        expect(this.#isConnected).toBe(true);
    }
  }
}

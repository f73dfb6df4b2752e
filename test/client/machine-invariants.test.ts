import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { ClientAction } from '../../client/machine.js';
import type { ServerMessage } from '../../client/messages.js';
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
    { arbitrary: fc.constant({ nudge: true }), weight: 1 },
  );

  test.each([true, false])('keeps the invariants (WebSocket: %s)', (hasWebSocket) => {
    fc.assert(
      fc.property(
        fc.array(occurrence, { maxLength: 80 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (all, random) => {
          const harness = new MachineHarness({ hasWebSocket, random: () => random });
          const check = new InvariantChecker();
          check.step(harness, harness.step({ type: 'start' }));
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

/** Checks the invariants in the header of `machine.ts` on the actions. */
class InvariantChecker {
  #isOpen = false;
  #isConnected = false;
  #delivered = new Set<string>();
  #acked = '';

  step(harness: MachineHarness, actions: readonly ClientAction[]): void {
    for (const action of actions) this.#check(action);
    // There is a deadline unless the client is closed.
    const isClosed = actions.some(
      ({ type, ...rest }) => type === 'state' && 'state' in rest && rest.state.type === 'closed',
    );
    expect(harness.wakeAtMs === Number.POSITIVE_INFINITY).toBe(isClosed);
  }

  #check(action: ClientAction): void {
    switch (action.type) {
      case 'open':
        expect(this.#isOpen).toBe(false);
        this.#isOpen = true;
        return;
      case 'abort':
        this.#isOpen = false;
        return;
      case 'state':
        this.#isConnected = action.state.type === 'connected';
        return;
      case 'gap':
        this.#delivered.clear();
        this.#acked = '';
        return;
      case 'push': {
        const { id } = action.push;
        if (id === undefined) return;
        expect(this.#delivered.has(id)).toBe(false);
        this.#delivered.add(id);
        return;
      }
      case 'send':
        expect(this.#isConnected).toBe(true);
        if (action.message.type !== 'ack') return;
        // Only delivered ids are confirmed, each once.
        expect(this.#delivered.has(action.message.id)).toBe(true);
        expect(action.message.id).not.toBe(this.#acked);
        this.#acked = action.message.id;
        return;
      case 'renew-token':
        expect(this.#isConnected).toBe(true);
    }
  }
}

/**
 * Goal: only what the application has taken is confirmed, in order and within a bound.
 * Method: the machine in virtual time; the test settles each delivery.
 */
import { describe, expect, test } from '@jest/globals';
import type { ClientAction } from '../../client/events.js';
import { MachineHarness, WELCOME } from './machine-harness.js';

const ack = (id: string): ClientAction => ({ type: 'send', message: { type: 'ack', id } });
const connected = (hasWebSocket = true) =>
  new MachineHarness({ isSync: false, hasWebSocket }).connected();
const delivered = (actions: ClientAction[]) =>
  actions.flatMap((action) => (action.type === 'deliver' ? [action.push?.id ?? 'gap'] : []));
const cursorOf = (actions: ClientAction[]) =>
  actions.find((action) => action.type === 'open')?.lastEventId;
const stateOf = (actions: ClientAction[]) =>
  actions.flatMap((action) => (action.type === 'state' ? [action.state] : [])).at(-1);

/** Lets the wait pass and the connection succeed. */
function reconnect(harness: MachineHarness): ClientAction[] {
  return [...harness.advanceToDeadline(), ...harness.receive(WELCOME)];
}

describe('a slow application', () => {
  test('gets one push at a time, and each is confirmed when it is taken', () => {
    const harness = connected();
    expect(delivered(harness.push('1-0'))).toEqual(['1-0']);
    expect(harness.push('2-0')).toEqual([]);
    expect(harness.advance(1_000)).toEqual([]);
    expect(delivered(harness.settle())).toEqual(['2-0']);
    expect(harness.advance(200)).toEqual([ack('1-0')]);
    harness.settle();
    expect(harness.advance(200)).toEqual([ack('2-0')]);
  });

  test('that has a push at the close does not confirm it', () => {
    const harness = connected();
    harness.push('1-0');
    harness.settle();
    harness.push('2-0');
    const actions = harness.step({ type: 'close' });
    expect(actions).toContainEqual(ack('1-0'));
    expect(actions).not.toContainEqual(ack('2-0'));
    expect(harness.settle()).toEqual([]);
  });

  test.each([true, false])('keeps what waits through a reconnect (WebSocket: %s)', (via) => {
    const harness = connected(via);
    for (const id of ['1-0', '2-0', '3-0']) harness.push(id);
    harness.settle();
    harness.fail();
    expect(cursorOf(reconnect(harness))).toBe('1-0');
    // Repeats of what waits already.
    expect([...harness.push('2-0'), ...harness.push('3-0')]).toEqual([]);
    expect(delivered(harness.settle())).toEqual(['3-0']);
    if (via) expect(harness.advance(200)).toEqual([ack('2-0')]);
  });

  test('confirms what it took between two connections as soon as the edge repeats it', () => {
    const harness = connected();
    harness.push('1-0');
    harness.fail();
    reconnect(harness);
    harness.settle();
    // The edge ignores an ack of what it has not sent on this connection.
    expect(harness.advance(1_000)).toEqual([]);
    harness.push('1-0');
    expect(harness.advance(200)).toEqual([ack('1-0')]);
  });

  test.each([
    ['pushes', 'x', 1_023],
    ['payload', 'x'.repeat(1024 * 1024), 3],
  ])('is disconnected over a bound of waiting %s, until it has taken all', (_, data, count) => {
    const harness = connected();
    const receive = (n: number) => harness.receive({ type: 'push', push: { id: `${n}-0`, data } });
    for (let n = 1; n <= count; n++) expect(stateOf(receive(n))).toBeUndefined();
    const state = stateOf(receive(count + 1));
    expect(state).toMatchObject({ type: 'waiting', code: 'SLOW_CONSUMER' });
    for (let n = 1; n < count; n++) {
      expect(cursorOf([...harness.settle(), ...harness.advance(1_000)])).toBeUndefined();
    }
    expect(cursorOf(harness.settle())).toBe(`${count}-0`);
    harness.receive(WELCOME);
    expect(delivered(receive(count + 1))).toEqual([`${count + 1}-0`]);
  });

  test('receives one push of any size', () => {
    const data = 'x'.repeat(8 * 1024 * 1024);
    const actions = connected().receive({ type: 'push', push: { id: '1-0', data } });
    expect(delivered(actions)).toEqual(['1-0']);
  });
});

describe('an application that fails', () => {
  test.each([true, false])('gets the push and later ones again (WebSocket: %s)', (via) => {
    const harness = connected(via);
    for (const id of ['1-0', '2-0', '3-0']) harness.push(id);
    harness.settle();
    const actions = harness.settle('Error: full');
    const failed = { type: 'waiting', code: 'PUSH_FAILED', reason: 'Error: full' };
    expect(stateOf(actions)).toEqual({ ...failed, retryMs: 250, attempts: 1 });
    expect(actions).toContainEqual({ type: 'abort' });
    if (via) expect(actions).toContainEqual(ack('1-0'));
    expect(delivered(harness.advance(249))).toEqual([]);
    expect(cursorOf(reconnect(harness))).toBe('1-0');
    expect(delivered(harness.push('2-0'))).toEqual(['2-0']);
    harness.push('3-0');
    expect(delivered(harness.settle())).toEqual(['3-0']);
    harness.settle();
    if (via) expect(harness.advance(200)).toEqual([ack('3-0')]);
    harness.fail();
    expect(cursorOf(harness.advanceToDeadline())).toBe('3-0');
  });

  test('is tried again with a growing delay, which a stable connection does not reset', () => {
    const harness = connected();
    const states: unknown[] = [];
    for (let n = 0; n < 9; n++) {
      harness.push('1-0');
      harness.nowMs += 10_000;
      const state = stateOf(harness.settle('no'));
      states.push(state?.type === 'waiting' && [state.attempts, state.retryMs]);
      // A network that is back is no reason to try again.
      harness.step({ type: 'probe' });
      reconnect(harness);
    }
    expect(states.slice(0, 3)).toEqual([
      [1, 250],
      [2, 500],
      [3, 1_000],
    ]);
    expect(states.at(-1)).toEqual([9, 15_000]);
    harness.push('1-0');
    harness.settle();
    harness.push('2-0');
    expect(stateOf(harness.settle('no'))).toMatchObject({ attempts: 1, retryMs: 250 });
  });

  test('goes on with the next push if the failed one has expired', () => {
    const harness = connected();
    harness.push('1-0');
    harness.settle('no');
    reconnect(harness);
    expect(delivered(harness.receive({ type: 'reset' }))).toEqual(['gap']);
    harness.settle();
    expect(delivered(harness.push('2-0'))).toEqual(['2-0']);
  });

  test('of a live-only push, which cannot come again, gets the next push', () => {
    const harness = connected();
    harness.receive({ type: 'push', push: { data: 'live' } });
    harness.push('1-0');
    expect(delivered(harness.settle('no'))).toEqual(['1-0']);
    harness.settle();
    expect(harness.advance(200)).toEqual([ack('1-0')]);
  });

  test('does not shorten the delay that a server has set', () => {
    const harness = connected();
    harness.push('1-0');
    harness.fail(7_000);
    harness.settle('no');
    expect(harness.wakeAtMs - harness.nowMs).toBe(7_250);
  });
});

describe('a gap', () => {
  test('is told in its place, and the push after it waits until it is taken', () => {
    const harness = connected();
    harness.push('8-0');
    expect([...harness.receive({ type: 'reset' }), ...harness.push('3-0')]).toEqual([]);
    expect(delivered(harness.settle())).toEqual(['gap']);
    expect(delivered(harness.settle())).toEqual(['3-0']);
    harness.settle();
    expect(harness.advance(200)).toEqual([ack('3-0')]);
  });

  test('that waits prevents the confirmation of earlier ids, which could cover later pushes', () => {
    const harness = connected();
    harness.push('8-0');
    harness.receive({ type: 'reset' });
    harness.push('3-0');
    harness.settle();
    expect(harness.advance(1_000)).toEqual([]);
  });

  test('that the application fails to take is told again after a reconnect', () => {
    const harness = connected();
    harness.push('8-0');
    harness.settle();
    harness.receive({ type: 'reset' });
    harness.push('3-0');
    expect(stateOf(harness.settle('offline'))).toMatchObject({ code: 'PUSH_FAILED', attempts: 1 });
    const actions = reconnect(harness);
    expect(cursorOf(actions)).toBe('8-0');
    expect(delivered(actions)).toEqual(['gap']);
    // The edge does not know the cursor either.
    harness.receive({ type: 'reset' });
    expect(harness.push('3-0')).toEqual([]);
    expect(delivered(harness.settle())).toEqual(['gap']);
    expect(delivered(harness.settle())).toEqual(['3-0']);
  });
});

describe('a replaced session with a lock', () => {
  const replaced = () => {
    const harness = new MachineHarness({ isSync: false, hasLock: true }).connected();
    harness.push('1-0');
    harness.push('2-0');
    return { harness, actions: harness.receive({ type: 'session-replaced' }) };
  };

  test('is on standby, then begins with a gap and without a cursor', () => {
    const { harness, actions } = replaced();
    expect(actions).toEqual([{ type: 'abort' }, { type: 'state', state: { type: 'standby' } }]);
    expect(harness.wakeAtMs).toBe(Number.POSITIVE_INFINITY);
    expect(harness.settle()).toEqual([]);
    expect(harness.step({ type: 'probe' })).toEqual([]);
    const turn = harness.step({ type: 'turn', isGranted: true });
    expect(cursorOf(turn)).toBe('');
    expect(delivered(turn)).toEqual(['gap']);
  });

  test('is closed if no tab of this browser replaced it', () => {
    const { harness } = replaced();
    expect(stateOf(harness.step({ type: 'turn', isGranted: false }))).toEqual({
      type: 'closed',
      reason: 'session-replaced',
    });
  });

  test('can be closed on standby', () => {
    const { harness } = replaced();
    expect(stateOf(harness.step({ type: 'close' }))).toEqual({ type: 'closed', reason: 'closed' });
    expect(harness.step({ type: 'turn', isGranted: true })).toEqual([]);
  });
});

describe('a rejection', () => {
  const reject = (harness: MachineHarness, permanence?: 'permanent' | 'unproven' | 'token') => {
    const failure = { code: 'A_CODE', reason: 'why', permanence };
    return stateOf(harness.step({ type: 'failed', attempt: harness.attempt, failure }));
  };
  const CLOSED = { type: 'closed', reason: 'rejected', code: 'A_CODE', message: 'why' };

  test('that is permanent closes the client, also after a connection', () => {
    expect(reject(connected(), 'permanent')).toEqual(CLOSED);
  });

  test('by a server that is perhaps no router closes the client if none has worked before', () => {
    expect(reject(connected(), 'unproven')).toMatchObject({ type: 'waiting', code: 'A_CODE' });
    const fresh = new MachineHarness();
    fresh.step(null);
    expect(reject(fresh, 'unproven')).toEqual(CLOSED);
  });

  test('of credentials closes a client without tokens at once', () => {
    const harness = new MachineHarness();
    harness.step(null);
    expect(reject(harness, 'token')).toEqual(CLOSED);
  });

  test('of credentials closes a client when a second token in a row is rejected', () => {
    const harness = new MachineHarness({ hasToken: true });
    harness.step(null);
    for (let n = 0; n < 3; n++) {
      expect(reject(harness, 'token')).toMatchObject({ type: 'waiting', code: 'A_CODE' });
      harness.advanceToDeadline();
      harness.receive(WELCOME);
    }
    reject(harness, 'token');
    harness.advanceToDeadline();
    // A failure of the network between them changes nothing.
    harness.fail();
    harness.advanceToDeadline();
    expect(reject(harness, 'token')).toEqual(CLOSED);
  });
});

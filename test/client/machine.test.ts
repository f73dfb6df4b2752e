import { describe, expect, test } from '@jest/globals';
import type { ClientAction, ClientEvent, ClientState } from '../../client/events.js';
import type { ServerMessage } from '../../client/messages.js';
import { FAILURE, HEARTBEAT_MS, MachineHarness, WELCOME } from './machine-harness.js';

const state = (state: ClientState): ClientAction => ({ type: 'state', state });
const ack = (id: string): ClientAction => ({ type: 'send', message: { type: 'ack', id } });
const PING: ClientAction = { type: 'send', message: { type: 'ping' } };
const ABORT: ClientAction = { type: 'abort' };

function open(fields: Partial<ClientAction & { type: 'open' }>): ClientAction {
  return {
    type: 'open',
    attempt: 1,
    via: 'websocket',
    url: undefined,
    lastEventId: '',
    ticket: undefined,
    ...fields,
  };
}

const openOf = (actions: ClientAction[]) => actions.find((action) => action.type === 'open');

describe('connecting', () => {
  test('opens an attempt and is connected on the welcome', () => {
    const harness = new MachineHarness({ lastEventId: '5-0' });
    expect(harness.step(null)).toEqual([
      state({ type: 'connecting' }),
      open({ lastEventId: '5-0' }),
    ]);
    expect(harness.receive(WELCOME)).toEqual([state({ type: 'connected', via: 'websocket' })]);
  });

  test('uses a stream without WebSocket', () => {
    const harness = new MachineHarness({ hasWebSocket: false });
    expect(harness.step(null)).toContainEqual(open({ via: 'stream' }));
    expect(harness.receive(WELCOME)).toEqual([state({ type: 'connected', via: 'stream' })]);
  });

  test('tries a stream after two WebSockets without a welcome, then WebSockets again', () => {
    const harness = new MachineHarness();
    const vias: unknown[] = [openOf(harness.step(null))?.via];
    for (let i = 0; i < 6; i++) {
      harness.fail();
      vias.push(openOf(harness.advanceToDeadline())?.via);
    }
    const [w, s] = ['websocket', 'stream'];
    expect(vias).toEqual([w, w, s, w, w, s, w]);
  });

  test('aborts an attempt after 45 s', () => {
    const harness = new MachineHarness();
    harness.step(null);
    expect(harness.wakeAtMs).toBe(harness.nowMs + 45_000);
    expect(harness.advanceToDeadline()).toEqual([
      ABORT,
      state({ type: 'waiting', retryMs: 250, code: 'TIMEOUT', reason: 'timeout while connecting' }),
    ]);
  });
});

describe('a failure', () => {
  test('is followed by a delay below a bound that doubles up to 30 s', () => {
    const harness = new MachineHarness();
    harness.step(null);
    const waits: number[] = [];
    for (let i = 0; i < 9; i++) {
      harness.fail();
      waits.push(harness.wakeAtMs - harness.nowMs);
      harness.advanceToDeadline();
    }
    expect(waits).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  });

  test.each([
    [9_999, 500],
    [10_000, 250],
  ])('of a connection that lasted %d ms is followed by %d ms', (lastedMs, expectedMs) => {
    const harness = new MachineHarness();
    harness.step(null);
    harness.fail();
    harness.advanceToDeadline();
    harness.receive(WELCOME);
    harness.nowMs += lastedMs;
    harness.fail();
    expect(harness.wakeAtMs - harness.nowMs).toBe(expectedMs);
  });

  test('adds jitter to the delay that the server sets', () => {
    const harness = new MachineHarness();
    harness.step(null);
    harness.fail(1_000);
    expect(harness.wakeAtMs - harness.nowMs).toBe(1_250);
    // A probe does not shorten a delay that the server set.
    harness.step({ type: 'probe' });
    expect(harness.wakeAtMs - harness.nowMs).toBe(1_250);
  });

  test('is followed by an attempt through the router with the newest id', () => {
    const harness = new MachineHarness().connected();
    harness.push('7-0');
    harness.fail();
    expect(harness.advanceToDeadline()).toContainEqual(open({ attempt: 2, lastEventId: '7-0' }));
  });

  test('of an earlier attempt is ignored', () => {
    const harness = new MachineHarness().connected();
    expect(harness.step({ type: 'failed', attempt: 0, failure: FAILURE })).toEqual([]);
    harness.fail();
    harness.advanceToDeadline();
    expect(harness.step({ type: 'failed', attempt: 1, failure: FAILURE })).toEqual([]);
    expect(harness.step({ type: 'message', attempt: 1, message: WELCOME })).toEqual([]);
  });
});

describe('a probe', () => {
  test('shortens a long delay, with jitter', () => {
    const harness = new MachineHarness();
    harness.step(null);
    for (let i = 0; i < 6; i++) {
      harness.fail();
      if (i < 5) harness.advanceToDeadline();
    }
    expect(harness.wakeAtMs - harness.nowMs).toBe(8_000);
    harness.step({ type: 'probe' });
    expect(harness.wakeAtMs - harness.nowMs).toBe(250);
  });

  test('pings a connection once', () => {
    const harness = new MachineHarness().connected();
    expect(harness.step({ type: 'probe' })).toEqual([PING]);
    expect(harness.step({ type: 'probe' })).toEqual([]);
  });
});

describe('a goaway', () => {
  const goaway: ServerMessage = {
    type: 'goaway',
    retryMs: 420,
    url: 'http://b/connect?clientId=a',
  };

  test('reconnects to its url after its delay', () => {
    const harness = new MachineHarness().connected();
    harness.push('7-0');
    expect(harness.receive(goaway)).toEqual([
      ack('7-0'),
      ABORT,
      state({ type: 'waiting', retryMs: 420, code: 'GOAWAY', reason: 'goaway' }),
    ]);
    expect(harness.wakeAtMs - harness.nowMs).toBe(420);
    expect(harness.advanceToDeadline()).toContainEqual(
      open({ attempt: 2, url: goaway.url, lastEventId: '7-0' }),
    );
  });

  test('without a url reconnects through the router', () => {
    const harness = new MachineHarness().connected();
    harness.receive({ type: 'goaway', retryMs: 420 });
    expect(harness.advanceToDeadline()).toContainEqual(open({ attempt: 2 }));
  });

  test('to an edge that fails is followed by an attempt through the router', () => {
    const harness = new MachineHarness().connected();
    harness.receive(goaway);
    harness.advanceToDeadline();
    harness.fail();
    expect(harness.advanceToDeadline()).toContainEqual(open({ attempt: 3 }));
  });

  test('is not shortened by a probe', () => {
    const harness = new MachineHarness().connected();
    harness.receive(goaway);
    harness.step({ type: 'probe' });
    expect(harness.wakeAtMs - harness.nowMs).toBe(420);
  });
});

describe('a push', () => {
  test('is delivered once', () => {
    const harness = new MachineHarness().connected();
    const push = { id: '7-0', data: 'x' };
    expect(harness.push('7-0')).toEqual([{ type: 'deliver', delivery: 1, push }]);
    for (const id of ['7-0', '6-9', '6-10']) expect(harness.push(id)).toEqual([]);
    expect(harness.push('7-1')).toHaveLength(1);
  });

  test('without an id is delivered and not confirmed', () => {
    const harness = new MachineHarness().connected();
    const push = { data: 'x' };
    expect(harness.receive({ type: 'push', push })).toEqual([
      { type: 'deliver', delivery: 1, push },
    ]);
    harness.fail();
    expect(openOf(harness.advanceToDeadline())?.lastEventId).toBe('');
  });

  test('is confirmed after 200 ms, together with later pushes', () => {
    const harness = new MachineHarness().connected();
    harness.push('7-0');
    expect(harness.advance(199)).toEqual([]);
    harness.push('8-0');
    expect(harness.advance(1)).toEqual([ack('8-0')]);
    expect(harness.advance(200)).toEqual([]);
  });

  test('over a stream is confirmed only by the next connect', () => {
    const harness = new MachineHarness({ hasWebSocket: false }).connected();
    harness.push('7-0');
    expect(harness.advance(200)).toEqual([]);
  });
});

describe('a reset', () => {
  test('reports a gap and accepts any id afterwards', () => {
    const harness = new MachineHarness({ lastEventId: '9-0' }).connected();
    expect(harness.receive({ type: 'reset' })).toEqual([{ type: 'deliver', delivery: 1 }]);
    expect(harness.push('3-0')).toHaveLength(1);
  });

  test('discards the pending ack', () => {
    const harness = new MachineHarness().connected();
    harness.push('7-0');
    harness.receive({ type: 'reset' });
    expect(harness.advance(200)).toEqual([]);
  });
});

describe('the heartbeat timeout', () => {
  test('pings a silent WebSocket after one heartbeat and closes it after another', () => {
    const harness = new MachineHarness().connected();
    expect(harness.advance(HEARTBEAT_MS - 1)).toEqual([]);
    expect(harness.advance(1)).toEqual([PING]);
    expect(harness.advance(HEARTBEAT_MS - 1)).toEqual([]);
    expect(harness.advance(1)).toEqual([
      ABORT,
      state({ type: 'waiting', retryMs: 250, code: 'TIMEOUT', reason: 'timeout while connected' }),
    ]);
  });

  test('restarts on any message', () => {
    const harness = new MachineHarness().connected();
    harness.advance(HEARTBEAT_MS);
    harness.advance(HEARTBEAT_MS - 1);
    harness.receive({ type: 'other' });
    expect(harness.advance(HEARTBEAT_MS - 1)).toEqual([]);
    expect(harness.advance(1)).toEqual([PING]);
  });

  test('does not close a WebSocket when the timer fires late: no ping was sent yet', () => {
    const harness = new MachineHarness().connected();
    expect(harness.advance(10 * HEARTBEAT_MS)).toEqual([PING]);
  });

  test('closes a silent stream after two heartbeats', () => {
    const harness = new MachineHarness({ hasWebSocket: false }).connected();
    expect(harness.advance(2 * HEARTBEAT_MS - 1)).toEqual([]);
    expect(harness.advance(1)).toContainEqual(ABORT);
  });
});

describe('closing', () => {
  test.each<[string, ClientEvent]>([
    ['message', { type: 'message', attempt: 1, message: { type: 'session-replaced' } }],
    ['close code', { type: 'failed', attempt: 1, failure: { code: 'CLOSE_4001', reason: '' } }],
  ])('follows a replaced session (%s)', (_, event) => {
    const harness = new MachineHarness().connected();
    expect(harness.step(event)).toEqual([
      ABORT,
      state({ type: 'closed', reason: 'session-replaced' }),
    ]);
    expect(harness.wakeAtMs).toBe(Number.POSITIVE_INFINITY);
  });

  test('confirms received pushes and ignores later events', () => {
    const harness = new MachineHarness().connected();
    harness.push('7-0');
    expect(harness.step({ type: 'close' })).toEqual([
      ack('7-0'),
      ABORT,
      state({ type: 'closed', reason: 'closed' }),
    ]);
    expect(harness.step({ type: 'close' })).toEqual([]);
    expect(harness.step({ type: 'probe' })).toEqual([]);
  });
});

describe('a resume ticket', () => {
  test('is sent with the next connect, the newest one', () => {
    const harness = new MachineHarness();
    harness.step(null);
    harness.receive({ ...WELCOME, ticket: 'first' });
    harness.receive({ type: 'ticket', ticket: 'second' });
    harness.receive({ type: 'goaway', retryMs: 100 });
    expect(openOf(harness.advanceToDeadline())?.ticket).toBe('second');
  });

  test('is not reused after a failed attempt', () => {
    const harness = new MachineHarness();
    harness.step(null);
    harness.receive({ ...WELCOME, ticket: 'first' });
    harness.fail();
    expect(openOf(harness.advanceToDeadline())?.ticket).toBe('first');
    harness.fail();
    expect(openOf(harness.advanceToDeadline())?.ticket).toBeUndefined();
  });

  test('is dropped when the edge closes with 4003', () => {
    const harness = new MachineHarness();
    harness.step(null);
    harness.receive({ ...WELCOME, ticket: 'old-ticket' });
    harness.step({ type: 'failed', attempt: 1, failure: { code: 'CLOSE_4003', reason: '' } });
    expect(openOf(harness.advanceToDeadline())?.ticket).toBeUndefined();
  });
});

describe('an expiring token', () => {
  test('is renewed over a WebSocket', () => {
    expect(new MachineHarness().connected().receive({ type: 'expiring' })).toEqual([
      { type: 'renew-token' },
    ]);
  });

  test('is not renewed over a stream, which drops its ticket', () => {
    const harness = new MachineHarness({ hasWebSocket: false });
    harness.step(null);
    harness.receive({ ...WELCOME, ticket: 'old-ticket' });
    expect(harness.receive({ type: 'expiring' })).toEqual([]);
    harness.fail();
    expect(openOf(harness.advanceToDeadline())?.ticket).toBeUndefined();
  });
});

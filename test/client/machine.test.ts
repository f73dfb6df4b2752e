import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  type ClientAction,
  type ClientEvent,
  ClientMachine,
  type ClientState,
} from '../../client/machine.js';
import type { ServerMessage } from '../../client/messages.js';

const HEARTBEAT_MS = 15_000;
/** Everything random is in the middle. */
const HALF: number = 0.5;
const WELCOME: ServerMessage = { type: 'welcome', heartbeatMs: HEARTBEAT_MS };
const FAILURE = { why: 'rejected' };

/** A machine in virtual time. */
class Scene {
  readonly machine: ClientMachine;
  nowMs = 1_000;
  wakeAtMs = Number.POSITIVE_INFINITY;
  actions: ClientAction[] = [];
  attempt = 0;

  constructor({ hasWebSocket = true, lastEventId = '', random = () => HALF } = {}) {
    this.machine = new ClientMachine(hasWebSocket, lastEventId, random);
  }

  take(event: ClientEvent | null): ClientAction[] {
    const { actions, wakeAtMs } = this.machine.step(this.nowMs, event);
    for (const action of actions) if (action.type === 'open') this.attempt = action.attempt;
    this.actions = [...actions];
    this.wakeAtMs = wakeAtMs;
    return this.actions;
  }

  hear(message: ServerMessage): ClientAction[] {
    return this.take({ type: 'message', attempt: this.attempt, message });
  }

  push(id: string): ClientAction[] {
    return this.hear({ type: 'push', push: { id, data: 'x' } });
  }

  fail(retryAfterMs?: number): ClientAction[] {
    const failure = retryAfterMs === undefined ? FAILURE : { ...FAILURE, retryAfterMs };
    return this.take({ type: 'failed', attempt: this.attempt, failure });
  }

  /** Lets time pass until the machine wants to be woken. */
  wake(): ClientAction[] {
    this.nowMs = this.wakeAtMs;
    return this.take(null);
  }

  pass(ms: number): ClientAction[] {
    this.nowMs += ms;
    return this.take(null);
  }

  connected(): this {
    this.take({ type: 'start' });
    this.hear(WELCOME);
    return this;
  }
}

const state = (state: ClientState): ClientAction => ({ type: 'state', state });
const ack = (id: string): ClientAction => ({ type: 'send', message: { type: 'ack', id } });
const PING: ClientAction = { type: 'send', message: { type: 'ping' } };
const DROP: ClientAction = { type: 'drop' };

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
  test('asks the router, and is connected by the welcome', () => {
    const scene = new Scene({ lastEventId: '5-0' });
    expect(scene.take({ type: 'start' })).toEqual([
      state({ type: 'connecting' }),
      open({ lastEventId: '5-0' }),
    ]);
    expect(scene.hear(WELCOME)).toEqual([state({ type: 'connected', via: 'websocket' })]);
  });

  test('uses a stream where there is no WebSocket', () => {
    const scene = new Scene({ hasWebSocket: false });
    expect(scene.take({ type: 'start' })).toContainEqual(open({ via: 'stream' }));
    expect(scene.hear(WELCOME)).toEqual([state({ type: 'connected', via: 'stream' })]);
  });

  test('tries a stream after two WebSockets without a welcome, and again a WebSocket after one', () => {
    const scene = new Scene();
    const vias: unknown[] = [openOf(scene.take({ type: 'start' }))?.via];
    for (let i = 0; i < 6; i++) {
      scene.fail();
      vias.push(openOf(scene.wake())?.via);
    }
    const [w, s] = ['websocket', 'stream'];
    expect(vias).toEqual([w, w, s, w, w, s, w]);
  });

  test('gives up a try after 45 s', () => {
    const scene = new Scene();
    scene.take({ type: 'start' });
    expect(scene.wakeAtMs).toBe(scene.nowMs + 45_000);
    expect(scene.wake()).toEqual([
      DROP,
      state({ type: 'waiting', retryMs: 250, why: 'no answer in time' }),
    ]);
  });

  test('starts once', () => {
    expect(new Scene().connected().take({ type: 'start' })).toEqual([]);
  });
});

describe('a failure', () => {
  test('is followed by a wait below a bound that doubles up to 30 s', () => {
    const scene = new Scene();
    scene.take({ type: 'start' });
    const waits: number[] = [];
    for (let i = 0; i < 9; i++) {
      scene.fail();
      waits.push(scene.wakeAtMs - scene.nowMs);
      scene.wake();
    }
    expect(waits).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  });

  test.each([
    [9_999, 500],
    [10_000, 250],
  ])('of a connection that lasted %d ms is followed by %d ms', (lastedMs, expectedMs) => {
    const scene = new Scene();
    scene.take({ type: 'start' });
    scene.fail();
    scene.wake();
    scene.hear(WELCOME);
    scene.nowMs += lastedMs;
    scene.fail();
    expect(scene.wakeAtMs - scene.nowMs).toBe(expectedMs);
  });

  test('asks for as much patience as the server does, and jitter on top', () => {
    const scene = new Scene();
    scene.take({ type: 'start' });
    scene.fail(1_000);
    expect(scene.wakeAtMs - scene.nowMs).toBe(1_250);
    // Good news of the network is none of the server.
    scene.take({ type: 'nudge' });
    expect(scene.wakeAtMs - scene.nowMs).toBe(1_250);
  });

  test('leads back to the router, with the newest id', () => {
    const scene = new Scene().connected();
    scene.push('7-0');
    scene.fail();
    expect(scene.wake()).toContainEqual(open({ attempt: 2, lastEventId: '7-0' }));
  });

  test('of an earlier try changes nothing', () => {
    const scene = new Scene().connected();
    expect(scene.take({ type: 'failed', attempt: 0, failure: FAILURE })).toEqual([]);
    scene.fail();
    scene.wake();
    expect(scene.take({ type: 'failed', attempt: 1, failure: FAILURE })).toEqual([]);
    expect(scene.take({ type: 'message', attempt: 1, message: WELCOME })).toEqual([]);
  });
});

describe('a nudge', () => {
  test('shortens a long wait, with jitter', () => {
    const scene = new Scene();
    scene.take({ type: 'start' });
    for (let i = 0; i < 6; i++) {
      scene.fail();
      if (i < 5) scene.wake();
    }
    expect(scene.wakeAtMs - scene.nowMs).toBe(8_000);
    scene.take({ type: 'nudge' });
    expect(scene.wakeAtMs - scene.nowMs).toBe(250);
  });

  test('asks a connection whether it lives, once', () => {
    const scene = new Scene().connected();
    expect(scene.take({ type: 'nudge' })).toEqual([PING]);
    expect(scene.take({ type: 'nudge' })).toEqual([]);
  });
});

describe('a goaway', () => {
  const goaway: ServerMessage = {
    type: 'goaway',
    retryMs: 420,
    url: 'http://b/connect?clientId=a',
  };

  test('leads to its target after its delay', () => {
    const scene = new Scene().connected();
    scene.push('7-0');
    expect(scene.hear(goaway)).toEqual([
      ack('7-0'),
      DROP,
      state({ type: 'waiting', retryMs: 420, why: 'goaway' }),
    ]);
    expect(scene.wakeAtMs - scene.nowMs).toBe(420);
    expect(scene.wake()).toContainEqual(open({ attempt: 2, url: goaway.url, lastEventId: '7-0' }));
  });

  test('without a target leads to the router', () => {
    const scene = new Scene().connected();
    scene.hear({ type: 'goaway', retryMs: 420 });
    expect(scene.wake()).toContainEqual(open({ attempt: 2 }));
  });

  test('to a target that fails leads to the router', () => {
    const scene = new Scene().connected();
    scene.hear(goaway);
    scene.wake();
    scene.fail();
    expect(scene.wake()).toContainEqual(open({ attempt: 3 }));
  });

  test('is not hurried by a nudge', () => {
    const scene = new Scene().connected();
    scene.hear(goaway);
    scene.take({ type: 'nudge' });
    expect(scene.wakeAtMs - scene.nowMs).toBe(420);
  });
});

describe('a push', () => {
  test('is given to the application once', () => {
    const scene = new Scene().connected();
    const push = { id: '7-0', data: 'x' };
    expect(scene.push('7-0')).toEqual([{ type: 'push', push }]);
    for (const id of ['7-0', '6-9', '6-10']) expect(scene.push(id)).toEqual([]);
    expect(scene.push('7-1')).toHaveLength(1);
  });

  test('that is live only is given, and changes nothing', () => {
    const scene = new Scene().connected();
    const push = { data: 'x' };
    expect(scene.hear({ type: 'push', push })).toEqual([{ type: 'push', push }]);
    scene.fail();
    expect(openOf(scene.wake())?.lastEventId).toBe('');
  });

  test('is confirmed after 200 ms, with all that came meanwhile', () => {
    const scene = new Scene().connected();
    scene.push('7-0');
    expect(scene.pass(199)).toEqual([]);
    scene.push('8-0');
    expect(scene.pass(1)).toEqual([ack('8-0')]);
    expect(scene.pass(200)).toEqual([]);
  });

  test('over a stream is confirmed by the next connect only', () => {
    const scene = new Scene({ hasWebSocket: false }).connected();
    scene.push('7-0');
    expect(scene.pass(200)).toEqual([]);
  });
});

describe('a reset', () => {
  test('is a gap, after which any id is new', () => {
    const scene = new Scene({ lastEventId: '9-0' }).connected();
    expect(scene.hear({ type: 'reset' })).toEqual([{ type: 'gap' }]);
    expect(scene.push('3-0')).toHaveLength(1);
  });

  test('leaves nothing to confirm', () => {
    const scene = new Scene().connected();
    scene.push('7-0');
    scene.hear({ type: 'reset' });
    expect(scene.pass(200)).toEqual([]);
  });
});

describe('silence', () => {
  test('of a WebSocket is asked about after a heartbeat, and ends it after another', () => {
    const scene = new Scene().connected();
    expect(scene.pass(HEARTBEAT_MS - 1)).toEqual([]);
    expect(scene.pass(1)).toEqual([PING]);
    expect(scene.pass(HEARTBEAT_MS - 1)).toEqual([]);
    expect(scene.pass(1)).toEqual([
      DROP,
      state({ type: 'waiting', retryMs: 250, why: 'the edge is silent' }),
    ]);
  });

  test('is over with anything that comes', () => {
    const scene = new Scene().connected();
    scene.pass(HEARTBEAT_MS);
    scene.pass(HEARTBEAT_MS - 1);
    scene.hear({ type: 'other' });
    expect(scene.pass(HEARTBEAT_MS - 1)).toEqual([]);
    expect(scene.pass(1)).toEqual([PING]);
  });

  test('is not found by a timer that came late: the edge had not been asked', () => {
    const scene = new Scene().connected();
    expect(scene.pass(10 * HEARTBEAT_MS)).toEqual([PING]);
  });

  test('of a stream ends it after two heartbeats', () => {
    const scene = new Scene({ hasWebSocket: false }).connected();
    expect(scene.pass(2 * HEARTBEAT_MS - 1)).toEqual([]);
    expect(scene.pass(1)).toContainEqual(DROP);
  });
});

describe('the end', () => {
  test.each<[string, ClientEvent]>([
    ['by its message', { type: 'message', attempt: 1, message: { type: 'session-replaced' } }],
    ['by its close code', { type: 'failed', attempt: 1, failure: { why: '', closeCode: 4001 } }],
  ])('comes with a takeover, %s', (_, event) => {
    const scene = new Scene().connected();
    expect(scene.take(event)).toEqual([DROP, state({ type: 'closed', why: 'session-replaced' })]);
    expect(scene.wakeAtMs).toBe(Number.POSITIVE_INFINITY);
  });

  test('comes with close, which confirms what came', () => {
    const scene = new Scene().connected();
    scene.push('7-0');
    expect(scene.take({ type: 'close' })).toEqual([
      ack('7-0'),
      DROP,
      state({ type: 'closed', why: 'closed' }),
    ]);
    expect(scene.take({ type: 'close' })).toEqual([]);
    expect(scene.take({ type: 'nudge' })).toEqual([]);
  });
});

describe('a resume ticket', () => {
  test('is shown at the next connect, the newest that came', () => {
    const scene = new Scene();
    scene.take({ type: 'start' });
    scene.hear({ ...WELCOME, ticket: 'first' });
    scene.hear({ type: 'ticket', ticket: 'second' });
    scene.hear({ type: 'goaway', retryMs: 100 });
    expect(openOf(scene.wake())?.ticket).toBe('second');
  });

  test('is not shown again when a try with it has come to nothing', () => {
    const scene = new Scene();
    scene.take({ type: 'start' });
    scene.hear({ ...WELCOME, ticket: 'first' });
    scene.fail();
    expect(openOf(scene.wake())?.ticket).toBe('first');
    scene.fail();
    expect(openOf(scene.wake())?.ticket).toBeUndefined();
  });
});

test('a ticket is forgotten when the edge says that its token has ended', () => {
  const scene = new Scene();
  scene.take({ type: 'start' });
  scene.hear({ ...WELCOME, ticket: 'of the old token' });
  scene.take({ type: 'failed', attempt: 1, failure: { why: '', closeCode: 4003 } });
  expect(openOf(scene.wake())?.ticket).toBeUndefined();
});

describe('a token that is about to end', () => {
  test('is renewed over a WebSocket', () => {
    expect(new Scene().connected().hear({ type: 'expiring' })).toEqual([{ type: 'renew' }]);
  });

  test('ends a stream, which begins anew with another', () => {
    const scene = new Scene({ hasWebSocket: false });
    scene.take({ type: 'start' });
    scene.hear({ ...WELCOME, ticket: 'of the old token' });
    expect(scene.hear({ type: 'expiring' })).toEqual([]);
    scene.fail();
    expect(openOf(scene.wake())?.ticket).toBeUndefined();
  });
});

describe('whatever happens', () => {
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
  /** `age`: how many tries ago the event began. */
  const happening = fc.oneof(
    { arbitrary: fc.record({ age: fc.constantFrom(0, 0, 0, 1), message }), weight: 10 },
    {
      arbitrary: fc.record({ age: fc.constantFrom(0, 1), failed: fc.constant(true) }),
      weight: 2,
    },
    { arbitrary: fc.record({ passMs: fc.nat(40_000) }), weight: 4 },
    { arbitrary: fc.constant({ nudge: true }), weight: 1 },
  );

  test.each([true, false])('what must hold holds (WebSocket: %s)', (hasWebSocket) => {
    fc.assert(
      fc.property(
        fc.array(happening, { maxLength: 80 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (all, random) => {
          const scene = new Scene({ hasWebSocket, random: () => random });
          const check = new Checker();
          check.step(scene, scene.take({ type: 'start' }));
          for (const each of all) {
            if ('message' in each) {
              const attempt = scene.attempt - each.age;
              check.step(scene, scene.take({ type: 'message', attempt, message: each.message }));
            } else if ('failed' in each) {
              const attempt = scene.attempt - each.age;
              check.step(scene, scene.take({ type: 'failed', attempt, failure: FAILURE }));
            } else if ('passMs' in each) {
              check.step(scene, scene.pass(each.passMs));
            } else {
              check.step(scene, scene.take({ type: 'nudge' }));
            }
            // Calling early is harmless.
            if (scene.nowMs < scene.wakeAtMs) expect(scene.take(null)).toEqual([]);
          }
          check.step(scene, scene.take({ type: 'close' }));
          expect(scene.take({ type: 'nudge' })).toEqual([]);
          expect(scene.pass(100_000)).toEqual([]);
        },
      ),
    );
  });
});

/** The invariants that the header of the machine lists, seen from outside. */
class Checker {
  #isUnderWay = false;
  #isConnected = false;
  #given = new Set<string>();
  #acked = '';

  step(scene: Scene, actions: readonly ClientAction[]): void {
    for (const action of actions) this.#check(action);
    // Whatever is waited for has an end, unless it is over.
    const isOver = actions.some(
      ({ type, ...rest }) => type === 'state' && 'state' in rest && rest.state.type === 'closed',
    );
    expect(scene.wakeAtMs === Number.POSITIVE_INFINITY).toBe(isOver);
  }

  #check(action: ClientAction): void {
    switch (action.type) {
      case 'open':
        expect(this.#isUnderWay).toBe(false);
        this.#isUnderWay = true;
        return;
      case 'drop':
        this.#isUnderWay = false;
        return;
      case 'state':
        this.#isConnected = action.state.type === 'connected';
        return;
      case 'gap':
        this.#given.clear();
        this.#acked = '';
        return;
      case 'push': {
        const { id } = action.push;
        if (id === undefined) return;
        expect(this.#given.has(id)).toBe(false);
        this.#given.add(id);
        return;
      }
      case 'send':
        expect(this.#isConnected).toBe(true);
        if (action.message.type !== 'ack') return;
        // Only what was given is confirmed, and nothing twice.
        expect(this.#given.has(action.message.id)).toBe(true);
        expect(action.message.id).not.toBe(this.#acked);
        this.#acked = action.message.id;
        return;
      case 'renew':
        expect(this.#isConnected).toBe(true);
    }
  }
}

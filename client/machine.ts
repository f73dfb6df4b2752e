/**
 * What a client of Longline does next. A pure machine; `connect.ts` drives it.
 *
 * The hard thing is that connections fail half-way, and that what they still had to say arrives
 * late. So each try has a number, which events repeat, and an event of another try changes nothing.
 *
 * Invariants: at most one try is under way; the newest id only grows, except that a `reset` forgets
 * it; no id is given to the application twice without a gap in between; nothing happens after
 * `closed`; whatever is waited for has an end.
 */
import type { Machine, Output } from '../common/process/state-machine.js';
import { type DeviceMessage, isNewer, type Push, type ServerMessage } from './messages.js';

/** A WebSocket, or the body of an HTTP answer that does not end. */
export type Via = 'websocket' | 'stream';

/** What the application is told of. */
export type ClientState =
  | { readonly type: 'connecting' }
  | { readonly type: 'connected'; readonly via: Via }
  /** Nothing is connected; the next try comes in `retryMs`, or earlier if the network comes back. */
  | { readonly type: 'waiting'; readonly retryMs: number; readonly why: string }
  /** For good. `session-replaced`: this clientId has connected elsewhere. `closed`: by `close()`. */
  | { readonly type: 'closed'; readonly why: 'closed' | 'session-replaced' };

type State =
  /** Before `start`. */
  | { readonly type: 'idle' }
  /** Entered by a failure and by a goaway. Ends with time; `url`: where to connect then. */
  | {
      readonly type: 'waiting';
      readonly untilMs: number;
      readonly url: string | undefined;
      /** A server said how long: news of the network does not make it shorter. */
      readonly isTold: boolean;
    }
  /** Entered when a wait is over. Ends with a welcome, a failure, or time. */
  | {
      readonly type: 'connecting';
      readonly attempt: number;
      readonly via: Via;
      readonly untilMs: number;
    }
  /** Entered by the welcome. Ends with a goaway, a takeover, a failure, or silence. */
  | {
      readonly type: 'connected';
      readonly attempt: number;
      readonly via: Via;
      readonly sinceMs: number;
      readonly heartbeatMs: number;
      heardAtMs: number;
      /** When a ping went out that nothing has answered; undefined: none is out. */
      pingedAtMs: number | undefined;
      /** When the newest id is to be confirmed; undefined: it has been. */
      ackAtMs: number | undefined;
    }
  /** Entered by a takeover and by `close`. Does not end. */
  | { readonly type: 'closed' };

export type ClientEvent =
  | { readonly type: 'start' }
  | { readonly type: 'message'; readonly attempt: number; readonly message: ServerMessage }
  /** A try came to nothing, or its connection has ended. */
  | { readonly type: 'failed'; readonly attempt: number; readonly failure: Failure }
  /** The network is back, or somebody looks: a good moment to find out how things are. */
  | { readonly type: 'nudge' }
  | { readonly type: 'close' };

export interface Failure {
  readonly why: string;
  /** A server asks for so much patience. */
  readonly retryAfterMs?: number;
  /** Of a WebSocket that was closed. */
  readonly closeCode?: number;
}

export type ClientAction =
  /** Connect; ask the router where, unless `url` says. `ticket`: shown instead of a token. */
  | {
      readonly type: 'open';
      readonly attempt: number;
      readonly via: Via;
      readonly url: string | undefined;
      readonly lastEventId: string;
      readonly ticket: string | undefined;
    }
  /** End the try that is under way, with its connection if it has one. */
  | { readonly type: 'drop' }
  /** Only ever over a WebSocket. */
  | { readonly type: 'send'; readonly message: DeviceMessage }
  /** Get a new token, and send it; only ever over a WebSocket. */
  | { readonly type: 'renew' }
  | { readonly type: 'push'; readonly push: Push }
  | { readonly type: 'gap' }
  | { readonly type: 'state'; readonly state: ClientState };

/** Those of the edge that say more than that the connection is over. */
const CLOSE_CODES = { sessionReplaced: 4001, unauthenticated: 4003 };

/** The bound of the first wait after a failure, and of the longest. Waits are uniform below it. */
const FIRST_BOUND_MS = 500;
const LAST_BOUND_MS = 30_000;
/** A connection that lasted so long was a good one: after it, waits begin anew. */
const GOOD_MS = 10_000;
/** An edge lets a device wait for its turn for 30 s, and then has 10 s for the subscription. */
const CONNECT_MS_MAX = 45_000;
/** Confirmations are collected for so long: a confirmation costs the cluster a script in Redis. */
const ACK_MS = 200;
/** After so many WebSockets that never got a welcome, one try is a stream: a proxy may forbid them. */
const WEBSOCKETS_MAX = 2;

export class ClientMachine implements Machine<ClientEvent, ClientAction> {
  #state: State = { type: 'idle' };
  #attempt = 0;
  /** Since the last good connection, or good news. */
  #failures = 0;
  /** Tries in a row that never got a welcome. */
  #unwelcome = 0;
  #ticket: string | undefined;
  #newest: string;

  /**
   * @param lastEventId the newest id that the application has; '' for none
   * @param random uniform in [0, 1)
   */
  constructor(
    readonly hasWebSocket: boolean,
    lastEventId: string,
    readonly random: () => number,
  ) {
    this.#newest = lastEventId;
  }

  step(nowMs: number, event: ClientEvent | null): Output<ClientAction> {
    const actions: ClientAction[] = [];
    if (event !== null) this.#take(nowMs, event, actions);
    this.#pass(nowMs, actions);
    return { actions, wakeAtMs: this.#wakeAtMs() };
  }

  #take(nowMs: number, event: ClientEvent, actions: ClientAction[]): void {
    const state = this.#state;
    if (state.type === 'closed') return;
    switch (event.type) {
      case 'start':
        if (state.type === 'idle') this.#becomeConnecting(nowMs, undefined, actions);
        return;
      case 'message':
        if (!('attempt' in state) || state.attempt !== event.attempt) return;
        return this.#hear(nowMs, event.message, actions);
      case 'failed':
        if (!('attempt' in state) || state.attempt !== event.attempt) return;
        if (event.failure.closeCode === CLOSE_CODES.sessionReplaced) {
          return this.#becomeClosed('session-replaced', actions);
        }
        return this.#fail(nowMs, event.failure, actions);
      case 'nudge':
        return this.#nudge(nowMs, actions);
      case 'close':
        this.#ack(actions);
        return this.#becomeClosed('closed', actions);
      default:
        event satisfies never;
    }
  }

  #hear(nowMs: number, message: ServerMessage, actions: ClientAction[]): void {
    if (message.type === 'welcome') this.#becomeConnected(nowMs, message, actions);
    const state = this.#state;
    if (state.type === 'connected') {
      state.heardAtMs = nowMs;
      state.pingedAtMs = undefined;
    }
    switch (message.type) {
      case 'push':
        return this.#receive(nowMs, message.push, actions);
      case 'reset':
        // What follows may have any id: Redis may have come back empty.
        this.#newest = '';
        actions.push({ type: 'gap' });
        return;
      case 'goaway':
        this.#forgive(nowMs);
        this.#ack(actions);
        return this.#becomeWaiting(nowMs, message.retryMs, 'goaway', actions, {
          url: message.url,
          isTold: true,
        });
      case 'session-replaced':
        return this.#becomeClosed('session-replaced', actions);
      case 'ticket':
        this.#ticket = message.ticket;
        return;
      case 'expiring':
        // The ticket ends with the token; another one comes when the token was renewed.
        this.#ticket = undefined;
        // A stream cannot say it: it ends with its token, and the next one begins with a new one.
        if (state.type === 'connected' && state.via === 'websocket')
          actions.push({ type: 'renew' });
        return;
      case 'welcome':
      case 'other':
        return;
      default:
        message satisfies never;
    }
  }

  #receive(nowMs: number, push: Push, actions: ClientAction[]): void {
    if (push.id !== undefined) {
      if (!isNewer(push.id, this.#newest)) return;
      this.#newest = push.id;
      if (this.#state.type === 'connected' && this.#state.via === 'websocket') {
        this.#state.ackAtMs ??= nowMs + ACK_MS;
      }
    }
    actions.push({ type: 'push', push });
  }

  /** What time alone changes. */
  #pass(nowMs: number, actions: ClientAction[]): void {
    const state = this.#state;
    switch (state.type) {
      case 'idle':
      case 'closed':
        return;
      case 'waiting':
        if (nowMs >= state.untilMs) this.#becomeConnecting(nowMs, state.url, actions);
        return;
      case 'connecting':
        if (nowMs >= state.untilMs) this.#fail(nowMs, { why: 'no answer in time' }, actions);
        return;
      case 'connected':
        if (nowMs >= this.#silentAtMs(state)) {
          return this.#fail(nowMs, { why: 'the edge is silent' }, actions);
        }
        if (state.ackAtMs !== undefined && nowMs >= state.ackAtMs) this.#ack(actions);
        if (nowMs >= this.#pingAtMs(state)) this.#ping(nowMs, state, actions);
        return;
      default:
        state satisfies never;
    }
  }

  #wakeAtMs(): number {
    const state = this.#state;
    if (state.type === 'waiting' || state.type === 'connecting') return state.untilMs;
    if (state.type !== 'connected') return Number.POSITIVE_INFINITY;
    const { ackAtMs = Number.POSITIVE_INFINITY } = state;
    return Math.min(ackAtMs, this.#pingAtMs(state), this.#silentAtMs(state));
  }

  /**
   * A stream has heartbeats of its own. Those of a WebSocket are invisible to a page, so it asks.
   */
  #pingAtMs(state: State & { type: 'connected' }): number {
    const asks = state.via === 'websocket' && state.pingedAtMs === undefined;
    return asks ? state.heardAtMs + state.heartbeatMs : Number.POSITIVE_INFINITY;
  }

  /**
   * After two heartbeats without a word. Over a WebSocket it takes a ping without an answer: timers
   * of a page in the background are late, and its edge may just never have been asked.
   */
  #silentAtMs({ via, pingedAtMs, heardAtMs, heartbeatMs }: State & { type: 'connected' }): number {
    if (via === 'stream') return heardAtMs + 2 * heartbeatMs;
    return (pingedAtMs ?? Number.POSITIVE_INFINITY) + heartbeatMs;
  }

  #ping(nowMs: number, state: State & { type: 'connected' }, actions: ClientAction[]): void {
    state.pingedAtMs = nowMs;
    actions.push({ type: 'send', message: { type: 'ping' } });
  }

  /** Confirms what has come and has not been confirmed. */
  #ack(actions: ClientAction[]): void {
    if (this.#state.type !== 'connected' || this.#state.ackAtMs === undefined) return;
    this.#state.ackAtMs = undefined;
    // A reset may have come after it.
    if (this.#newest !== '') {
      actions.push({ type: 'send', message: { type: 'ack', id: this.#newest } });
    }
  }

  #nudge(nowMs: number, actions: ClientAction[]): void {
    const state = this.#state;
    if (state.type === 'connected' && this.#pingAtMs(state) !== Number.POSITIVE_INFINITY) {
      this.#ping(nowMs, state, actions);
    }
    if (state.type !== 'waiting' || state.isTold) return;
    // Everybody on the same network hears that it is back at the same time.
    this.#failures = 0;
    const untilMs = Math.min(state.untilMs, nowMs + this.#jitter(FIRST_BOUND_MS));
    this.#state = { ...state, untilMs };
  }

  #fail(nowMs: number, failure: Failure, actions: ClientAction[]): void {
    const isConnecting = this.#state.type === 'connecting';
    if (isConnecting) this.#unwelcome++;
    // The ticket may be what was rejected. Then the next try shows a token.
    if (isConnecting || failure.closeCode === CLOSE_CODES.unauthenticated) this.#ticket = undefined;
    this.#forgive(nowMs);
    const boundMs = Math.min(LAST_BOUND_MS, FIRST_BOUND_MS * 2 ** this.#failures++);
    const waitMs = (failure.retryAfterMs ?? 0) + this.#jitter(boundMs);
    this.#becomeWaiting(nowMs, waitMs, failure.why, actions, {
      url: undefined,
      isTold: failure.retryAfterMs !== undefined,
    });
  }

  /** Once a connection has lasted, what went wrong before it does not count. */
  #forgive(nowMs: number): void {
    const state = this.#state;
    if (state.type === 'connected' && nowMs - state.sinceMs >= GOOD_MS) this.#failures = 0;
  }

  #becomeConnecting(nowMs: number, url: string | undefined, actions: ClientAction[]): void {
    const isStream =
      !this.hasWebSocket || this.#unwelcome % (WEBSOCKETS_MAX + 1) === WEBSOCKETS_MAX;
    const via: Via = isStream ? 'stream' : 'websocket';
    const attempt = ++this.#attempt;
    this.#state = { type: 'connecting', attempt, via, untilMs: nowMs + CONNECT_MS_MAX };
    const [lastEventId, ticket] = [this.#newest, this.#ticket];
    actions.push(
      { type: 'state', state: { type: 'connecting' } },
      { type: 'open', attempt, via, url, lastEventId, ticket },
    );
  }

  #becomeConnected(
    nowMs: number,
    { heartbeatMs, ticket }: ServerMessage & { type: 'welcome' },
    actions: ClientAction[],
  ): void {
    if (this.#state.type !== 'connecting') return;
    const { attempt, via } = this.#state;
    this.#unwelcome = 0;
    this.#ticket = ticket ?? this.#ticket;
    this.#state = {
      type: 'connected',
      attempt,
      via,
      sinceMs: nowMs,
      heartbeatMs,
      heardAtMs: nowMs,
      pingedAtMs: undefined,
      ackAtMs: undefined,
    };
    actions.push({ type: 'state', state: { type: 'connected', via } });
  }

  #becomeWaiting(
    nowMs: number,
    retryMs: number,
    why: string,
    actions: ClientAction[],
    next: { readonly url: string | undefined; readonly isTold: boolean },
  ): void {
    this.#state = { type: 'waiting', untilMs: nowMs + retryMs, ...next };
    actions.push({ type: 'drop' }, { type: 'state', state: { type: 'waiting', retryMs, why } });
  }

  #becomeClosed(why: 'closed' | 'session-replaced', actions: ClientAction[]): void {
    this.#state = { type: 'closed' };
    actions.push({ type: 'drop' }, { type: 'state', state: { type: 'closed', why } });
  }

  #jitter(boundMs: number): number {
    return Math.ceil(boundMs * this.random());
  }
}

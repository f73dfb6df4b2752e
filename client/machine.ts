/**
 * Pure state machine of the client; `connect.ts` drives it.
 *
 * Connections fail half-way, and their last events arrive late. So each attempt has a number that
 * its events carry, and events of an earlier attempt are ignored.
 *
 * Invariants:
 * - at most one attempt is open;
 * - the newest id only grows, except that a `reset` clears it;
 * - no id is passed to the application twice without a gap in between;
 * - nothing happens after `closed`;
 * - every wait has a deadline.
 */
import { type DeviceMessage, isNewer, type Push, type ServerMessage } from './messages.js';

/** Kind of connection: a WebSocket, or an HTTP response that does not end. */
export type Via = 'websocket' | 'stream';

/** State of the client, as `onState` receives it. */
export type ClientState =
  /** An attempt to connect has started. */
  | { readonly type: 'connecting' }
  /** Connected: the client receives every push from here on. */
  | { readonly type: 'connected'; readonly via: Via }
  /**
   * Not connected, because of `reason`, a text for logs. The next attempt starts in `retryMs`
   * milliseconds, or earlier when the network is back.
   */
  | { readonly type: 'waiting'; readonly retryMs: number; readonly reason: string }
  /**
   * Closed for good: by `close()`, or because the clientId has a newer connection
   * (`session-replaced`).
   */
  | { readonly type: 'closed'; readonly reason: 'closed' | 'session-replaced' };

type State =
  /** Before `start`. */
  | { readonly type: 'idle' }
  /** Entered on a failure or a goaway; left when the time is over. */
  | {
      readonly type: 'waiting';
      readonly untilMs: number;
      /** Edge to connect to; undefined: query the router. */
      readonly url: string | undefined;
      /** Whether a server set the delay: a probe does not shorten it. */
      readonly isServerDelay: boolean;
    }
  /** Entered when a wait is over; left on the welcome, a failure, or the timeout. */
  | {
      readonly type: 'connecting';
      readonly attempt: number;
      readonly via: Via;
      readonly untilMs: number;
    }
  /** Entered on the welcome; left on a goaway, a takeover, a failure, or the heartbeat timeout. */
  | {
      readonly type: 'connected';
      readonly attempt: number;
      readonly via: Via;
      readonly sinceMs: number;
      readonly heartbeatMs: number;
      lastMessageAtMs: number;
      /** Time of a ping that has no response yet; undefined: none. */
      pingedAtMs: number | undefined;
      /** Time at which to confirm the newest id; undefined: it is confirmed. */
      ackAtMs: number | undefined;
    }
  /** Entered on a takeover or on `close`; final. */
  | { readonly type: 'closed' };

export type ClientEvent =
  | { readonly type: 'start' }
  | { readonly type: 'message'; readonly attempt: number; readonly message: ServerMessage }
  /** The attempt failed, or its connection has ended. */
  | { readonly type: 'failed'; readonly attempt: number; readonly failure: Failure }
  /** The network may be back, or the page is visible: check the connection, or retry sooner. */
  | { readonly type: 'probe' }
  | { readonly type: 'close' };

export interface Failure {
  readonly reason: string;
  /** Retry-After of the server, in milliseconds. */
  readonly retryAfterMs?: number;
  /** Close code of a WebSocket. */
  readonly closeCode?: number;
}

export type ClientAction =
  /**
   * Connect to `url`, or without it to the edge that the router returns. `ticket` replaces a token.
   */
  | {
      readonly type: 'open';
      readonly attempt: number;
      readonly via: Via;
      readonly url: string | undefined;
      readonly lastEventId: string;
      readonly ticket: string | undefined;
    }
  /** Abort the current attempt and close its connection. */
  | { readonly type: 'abort' }
  /** Send a message; over a WebSocket only. */
  | { readonly type: 'send'; readonly message: DeviceMessage }
  /** Obtain a new token and send it; over a WebSocket only. */
  | { readonly type: 'renew-token' }
  | { readonly type: 'push'; readonly push: Push }
  | { readonly type: 'gap' }
  | { readonly type: 'state'; readonly state: ClientState };

/** Result of a step. */
export interface ClientOutput {
  /** To be performed in order. */
  readonly actions: readonly ClientAction[];
  /** Time of the next step if no event arrives before; Infinity: none. */
  readonly wakeAtMs: number;
}

/** Close codes of an edge with a meaning beyond the end of the connection. */
const CLOSE_CODES = { sessionReplaced: 4001, tokenExpired: 4003 };

/**
 * Upper bound of the delay after the first failure, and after many. Delays are uniform below it.
 */
const FIRST_BOUND_MS = 500;
const LAST_BOUND_MS = 30_000;
/** Duration after which a connection counts as stable, which resets the backoff. */
const STABLE_MS = 10_000;
/** An edge queues a device for up to 30 s and then waits up to 10 s for the subscription. */
const CONNECT_MS_MAX = 45_000;
/** Acks are batched over this time: each costs the cluster a script in Redis. */
const ACK_DELAY_MS = 200;
/** WebSocket attempts without a welcome before one stream: a proxy may block WebSockets. */
const WEBSOCKETS_MAX = 2;

export class ClientMachine {
  #state: State = { type: 'idle' };
  #attempt = 0;
  /** Failures since the last stable connection, or since the last probe while waiting. */
  #failures = 0;
  /** Consecutive attempts without a welcome. */
  #failedAttempts = 0;
  #ticket: string | undefined;
  #newestId: string;

  /**
   * @param lastEventId newest id that the application has processed; '' for none
   * @param random uniform in [0, 1)
   */
  constructor(
    readonly hasWebSocket: boolean,
    lastEventId: string,
    readonly random: () => number,
  ) {
    this.#newestId = lastEventId;
  }

  /** @param event null when only time has passed; early and repeated calls are harmless */
  step(nowMs: number, event: ClientEvent | null): ClientOutput {
    const actions: ClientAction[] = [];
    if (event !== null) this.#handle(nowMs, event, actions);
    this.#advance(nowMs, actions);
    return { actions, wakeAtMs: this.#wakeAtMs() };
  }

  #handle(nowMs: number, event: ClientEvent, actions: ClientAction[]): void {
    const state = this.#state;
    if (state.type === 'closed') return;
    switch (event.type) {
      case 'start':
        if (state.type === 'idle') this.#becomeConnecting(nowMs, undefined, actions);
        return;
      case 'message':
        if (!('attempt' in state) || state.attempt !== event.attempt) return;
        return this.#receive(nowMs, event.message, actions);
      case 'failed':
        if (!('attempt' in state) || state.attempt !== event.attempt) return;
        if (event.failure.closeCode === CLOSE_CODES.sessionReplaced) {
          return this.#becomeClosed('session-replaced', actions);
        }
        return this.#fail(nowMs, event.failure, actions);
      case 'probe':
        return this.#probe(nowMs, actions);
      case 'close':
        this.#ack(actions);
        return this.#becomeClosed('closed', actions);
      default:
        event satisfies never;
    }
  }

  #receive(nowMs: number, message: ServerMessage, actions: ClientAction[]): void {
    if (message.type === 'welcome') this.#becomeConnected(nowMs, message, actions);
    const state = this.#state;
    if (state.type === 'connected') {
      state.lastMessageAtMs = nowMs;
      state.pingedAtMs = undefined;
    }
    switch (message.type) {
      case 'push':
        return this.#receivePush(nowMs, message.push, actions);
      case 'reset':
        // The pushes that follow may have smaller ids, if Redis has lost its data.
        this.#newestId = '';
        actions.push({ type: 'gap' });
        return;
      case 'goaway':
        this.#resetBackoffIfStable(nowMs);
        this.#ack(actions);
        return this.#becomeWaiting(nowMs, message.retryMs, 'goaway', actions, {
          url: message.url,
          isServerDelay: true,
        });
      case 'session-replaced':
        return this.#becomeClosed('session-replaced', actions);
      case 'ticket':
        this.#ticket = message.ticket;
        return;
      case 'expiring':
        // The ticket expires with the token; the edge sends a new one after the token is renewed.
        this.#ticket = undefined;
        // A stream cannot send a token: it ends with its own, and the next attempt uses a new one.
        if (state.type === 'connected' && state.via === 'websocket')
          actions.push({ type: 'renew-token' });
        return;
      case 'welcome':
      case 'other':
        return;
      default:
        message satisfies never;
    }
  }

  #receivePush(nowMs: number, push: Push, actions: ClientAction[]): void {
    if (push.id !== undefined) {
      if (!isNewer(push.id, this.#newestId)) return;
      this.#newestId = push.id;
      if (this.#state.type === 'connected' && this.#state.via === 'websocket') {
        this.#state.ackAtMs ??= nowMs + ACK_DELAY_MS;
      }
    }
    actions.push({ type: 'push', push });
  }

  /** Performs the transitions and messages that are due. */
  #advance(nowMs: number, actions: ClientAction[]): void {
    const state = this.#state;
    switch (state.type) {
      case 'idle':
      case 'closed':
        return;
      case 'waiting':
        if (nowMs >= state.untilMs) this.#becomeConnecting(nowMs, state.url, actions);
        return;
      case 'connecting':
        if (nowMs >= state.untilMs) this.#fail(nowMs, { reason: 'connect timeout' }, actions);
        return;
      case 'connected':
        if (nowMs >= this.#timeoutAtMs(state)) {
          return this.#fail(nowMs, { reason: 'heartbeat timeout' }, actions);
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
    return Math.min(ackAtMs, this.#pingAtMs(state), this.#timeoutAtMs(state));
  }

  /**
   * A stream carries heartbeats. A page does not see those of a WebSocket, so the client sends a
   * ping after a heartbeat without a message.
   */
  #pingAtMs(state: State & { type: 'connected' }): number {
    const isDue = state.via === 'websocket' && state.pingedAtMs === undefined;
    return isDue ? state.lastMessageAtMs + state.heartbeatMs : Number.POSITIVE_INFINITY;
  }

  /**
   * A stream times out after two heartbeats without a message. A WebSocket times out only after a
   * ping without a response: timers of a background page fire late, so the ping may be late, too.
   */
  #timeoutAtMs(state: State & { type: 'connected' }): number {
    const { via, pingedAtMs, lastMessageAtMs, heartbeatMs } = state;
    if (via === 'stream') return lastMessageAtMs + 2 * heartbeatMs;
    return (pingedAtMs ?? Number.POSITIVE_INFINITY) + heartbeatMs;
  }

  #ping(nowMs: number, state: State & { type: 'connected' }, actions: ClientAction[]): void {
    state.pingedAtMs = nowMs;
    actions.push({ type: 'send', message: { type: 'ping' } });
  }

  /** Confirms the newest id if it is unconfirmed. */
  #ack(actions: ClientAction[]): void {
    if (this.#state.type !== 'connected' || this.#state.ackAtMs === undefined) return;
    this.#state.ackAtMs = undefined;
    // A reset may have cleared the id.
    if (this.#newestId !== '') {
      actions.push({ type: 'send', message: { type: 'ack', id: this.#newestId } });
    }
  }

  #probe(nowMs: number, actions: ClientAction[]): void {
    const state = this.#state;
    if (state.type === 'connected' && this.#pingAtMs(state) !== Number.POSITIVE_INFINITY) {
      this.#ping(nowMs, state, actions);
    }
    if (state.type !== 'waiting' || state.isServerDelay) return;
    // With jitter: all clients of a network that is back receive this event at once.
    this.#failures = 0;
    const untilMs = Math.min(state.untilMs, nowMs + this.#jitter(FIRST_BOUND_MS));
    this.#state = { ...state, untilMs };
  }

  #fail(nowMs: number, failure: Failure, actions: ClientAction[]): void {
    const isConnecting = this.#state.type === 'connecting';
    if (isConnecting) this.#failedAttempts++;
    // The edge may have rejected the ticket: the next attempt uses a token.
    if (isConnecting || failure.closeCode === CLOSE_CODES.tokenExpired) this.#ticket = undefined;
    this.#resetBackoffIfStable(nowMs);
    const boundMs = Math.min(LAST_BOUND_MS, FIRST_BOUND_MS * 2 ** this.#failures++);
    const waitMs = (failure.retryAfterMs ?? 0) + this.#jitter(boundMs);
    this.#becomeWaiting(nowMs, waitMs, failure.reason, actions, {
      url: undefined,
      isServerDelay: failure.retryAfterMs !== undefined,
    });
  }

  #resetBackoffIfStable(nowMs: number): void {
    const state = this.#state;
    if (state.type === 'connected' && nowMs - state.sinceMs >= STABLE_MS) this.#failures = 0;
  }

  #becomeConnecting(nowMs: number, url: string | undefined, actions: ClientAction[]): void {
    const isStream =
      !this.hasWebSocket || this.#failedAttempts % (WEBSOCKETS_MAX + 1) === WEBSOCKETS_MAX;
    const via: Via = isStream ? 'stream' : 'websocket';
    const attempt = ++this.#attempt;
    this.#state = { type: 'connecting', attempt, via, untilMs: nowMs + CONNECT_MS_MAX };
    const [lastEventId, ticket] = [this.#newestId, this.#ticket];
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
    this.#failedAttempts = 0;
    this.#ticket = ticket ?? this.#ticket;
    this.#state = {
      type: 'connected',
      attempt,
      via,
      sinceMs: nowMs,
      heartbeatMs,
      lastMessageAtMs: nowMs,
      pingedAtMs: undefined,
      ackAtMs: undefined,
    };
    actions.push({ type: 'state', state: { type: 'connected', via } });
  }

  #becomeWaiting(
    nowMs: number,
    retryMs: number,
    reason: string,
    actions: ClientAction[],
    next: { readonly url: string | undefined; readonly isServerDelay: boolean },
  ): void {
    this.#state = { type: 'waiting', untilMs: nowMs + retryMs, ...next };
    actions.push({ type: 'abort' }, { type: 'state', state: { type: 'waiting', retryMs, reason } });
  }

  #becomeClosed(reason: 'closed' | 'session-replaced', actions: ClientAction[]): void {
    this.#state = { type: 'closed' };
    actions.push({ type: 'abort' }, { type: 'state', state: { type: 'closed', reason } });
  }

  #jitter(boundMs: number): number {
    return Math.ceil(boundMs * this.random());
  }
}

/**
 * Pure state machine of the client; `connect.ts` drives it.
 *
 * Connections fail half-way, and their last events arrive late. So each attempt has a number that
 * its events carry, and events of an earlier attempt are ignored.
 *
 * Invariants:
 * - at most one attempt is open;
 * - the application has at most one push or gap at a time, in the order of arrival;
 * - no id is passed to the application twice without a gap or a failure of the application between;
 * - only ids that the application has taken are confirmed or named as the cursor;
 * - nothing happens after `closed`;
 * - every wait has a deadline, except for the application and for another tab.
 */
import { Deliveries } from './deliveries.js';
import type {
  ClientAction,
  ClientEvent,
  ClientOutput,
  ClientState,
  Failure,
  Via,
} from './events.js';
import { isNewer, type Push, type ServerMessage } from './messages.js';

interface Attempt {
  /**
   * `connecting`: entered when a wait is over; left on the welcome, a failure, or the timeout.
   * `connected`: entered on the welcome; left on a goaway, a takeover, a failure, or the timeout.
   */
  type: 'connecting' | 'connected';
  readonly attempt: number;
  readonly via: Via;
  /** Time at which the type was entered. */
  sinceMs: number;
  /** Stated by the welcome. */
  heartbeatMs: number;
  lastMessageAtMs: number;
  /** Time of a ping that has no response yet; undefined: none. */
  pingedAtMs?: number | undefined;
  /** Newest id on this connection, repeats included; the edge ignores acks of later ones. */
  newestId: string;
  /** Newest id confirmed, by the connect or an ack. */
  ackedId: string;
  /** Time at which to confirm the newest id taken; undefined: it is confirmed. */
  ackAtMs?: number | undefined;
}

type State =
  /** The initial state. Entered also on a failure or a goaway; left when the time is over. */
  | {
      readonly type: 'waiting';
      readonly untilMs: number;
      /** Edge to connect to; undefined: query the router. */
      readonly url: string | undefined;
      /** Whether a server or a failed push set the delay: a probe does not shorten it. */
      readonly isFixed: boolean;
    }
  | Attempt
  /** Entered on a takeover with `onReplaced: 'wait'`; left when the other tab has closed. */
  | { readonly type: 'standby' }
  /** Entered on a takeover, a permanent rejection or `close`; final. */
  | { readonly type: 'closed' };

/** Members of a closed state beside its type. */
type ClosedState =
  | { readonly reason: 'closed' | 'session-replaced' }
  | { readonly reason: 'rejected'; readonly code: string; readonly message: string };

export interface ClientMachineOptions {
  readonly hasWebSocket: boolean;
  /** Whether the application can supply another token. */
  readonly hasToken: boolean;
  readonly hasLock: boolean;
  /** Newest id that the application has taken; '' for none. */
  readonly lastEventId: string;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

const NEVER = Number.POSITIVE_INFINITY;
/** Close codes of an edge with a meaning beyond the end of the connection. */
const SESSION_REPLACED = 'CLOSE_4001';
const TOKEN_EXPIRED = 'CLOSE_4003';

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
/** Maximum WebSocket attempts without a welcome before one stream: a proxy may block WebSockets. */
const WEBSOCKETS_MAX = 2;
/** Maximum rejected tokens of the application in a row: the first may have just expired. */
const TOKENS_MAX = 2;

export class ClientMachine {
  #state: State = { type: 'waiting', untilMs: 0, url: undefined, isFixed: true };
  /** Time of the current step, and its actions so far. */
  #nowMs = 0;
  #actions: ClientAction[] = [];
  #attempt = 0;
  /** Failures since the last stable connection, or since the last probe while waiting. */
  #failures = 0;
  /** Consecutive attempts without a welcome. */
  #failedAttempts = 0;
  /** Consecutive attempts whose credentials were rejected. */
  #rejectedTokens = 0;
  #hasConnected = false;
  #ticket: string | undefined;
  readonly #deliveries: Deliveries;

  constructor(readonly options: ClientMachineOptions) {
    this.#deliveries = new Deliveries(options.lastEventId);
  }

  /** @param event null when only time has passed; early and repeated calls are harmless */
  step(nowMs: number, event: ClientEvent | null): ClientOutput {
    this.#nowMs = nowMs;
    this.#actions = [];
    const state = this.#state;
    if (state.type === 'connected' && nowMs - state.sinceMs >= STABLE_MS) this.#failures = 0;
    if (event !== null) this.#handle(event);
    this.#advance();
    return { actions: this.#actions, wakeAtMs: this.#wakeAtMs() };
  }

  #handle(event: ClientEvent): void {
    const state = this.#state;
    if (state.type === 'closed') return;
    // Ignores events of earlier attempts.
    if ('attempt' in event && !('attempt' in state && state.attempt === event.attempt)) return;
    switch (event.type) {
      case 'message':
        return this.#receive(event.message);
      case 'failed':
        return this.#fail(event.failure);
      case 'returned':
        return this.#settle(event.delivery, event.failure);
      case 'turn':
        if (event.isGranted) this.#becomeConnecting();
        else this.#becomeClosed({ reason: 'session-replaced' });
        return;
      case 'probe':
        return this.#probe();
      case 'close':
        this.#ack();
        return this.#becomeClosed({ reason: 'closed' });
      default:
        event satisfies never;
    }
  }

  #receive(message: ServerMessage): void {
    if (message.type === 'welcome') this.#becomeConnected(message);
    const state = this.#state;
    if (state.type === 'connected') {
      state.lastMessageAtMs = this.#nowMs;
      state.pingedAtMs = undefined;
    }
    switch (message.type) {
      case 'push':
        return this.#receivePush(message.push);
      case 'reset':
        // The pushes that follow may have smaller ids, if Redis has lost its data.
        if (state.type === 'connected') state.newestId = '';
        return this.#deliveries.addGap();
      case 'goaway':
        this.#ack();
        return this.#becomeWaiting(message.retryMs, 'GOAWAY', 'goaway', true, message.url);
      case 'session-replaced':
        return this.#becomeReplaced();
      case 'ticket':
        this.#ticket = message.ticket;
        return;
      case 'expiring':
        // The ticket expires with the token; the edge sends a new one after the token is renewed.
        this.#ticket = undefined;
        // A stream cannot send a token: it ends with its own, and the next attempt uses a new one.
        if (this.#isWebSocket(state)) this.#actions.push({ type: 'renew-token' });
        return;
      case 'welcome':
      case 'other':
        return;
      default:
        message satisfies never;
    }
  }

  #receivePush(push: Push): void {
    const { id } = push;
    const state = this.#state;
    if (state.type === 'connected' && id !== undefined) {
      state.newestId = id;
      // A repeat that the application took on an earlier connection, where it was not confirmed.
      if (!isNewer(id, this.#deliveries.taken)) this.#scheduleAck();
    }
    if (this.#deliveries.add(push)) return;
    this.#ack();
    this.#becomeWaiting(this.#jitter(0), 'SLOW_CONSUMER', 'onPush is slow', false);
  }

  #settle(delivery: number, failure: string | undefined): void {
    const attempts = this.#deliveries.settle(delivery, failure === undefined);
    if (attempts === 0) return this.#scheduleAck();
    this.#ack();
    const state = this.#state;
    const leftMs = state.type === 'waiting' ? state.untilMs - this.#nowMs : 0;
    const retryMs = Math.max(leftMs, this.#jitter(attempts - 1));
    this.#becomeWaiting(retryMs, 'PUSH_FAILED', failure!, true, undefined, attempts);
  }

  /** Performs the transitions and messages that are due. */
  #advance(): void {
    const state = this.#state;
    if (state.type === 'standby' || state.type === 'closed') return;
    const isDue = (atMs: number) => this.#nowMs >= atMs;
    if (state.type === 'waiting') {
      if (isDue(this.#wakeAtMs())) this.#becomeConnecting(state.url);
    } else {
      if (isDue(state.ackAtMs ?? NEVER)) this.#ack();
      if (isDue(this.#timeoutAtMs(state))) {
        this.#fail({ code: 'TIMEOUT', reason: `timeout while ${state.type}` });
      } else if (isDue(this.#pingAtMs(state))) this.#ping(state);
    }
    const delivery = this.#deliveries.next(this.#state.type === 'connected');
    if (delivery) this.#actions.push({ type: 'deliver', ...delivery });
  }

  #wakeAtMs(): number {
    const state = this.#state;
    if (state.type === 'waiting') return this.#deliveries.isBusy ? NEVER : state.untilMs;
    if (!('attempt' in state)) return NEVER;
    return Math.min(state.ackAtMs ?? NEVER, this.#pingAtMs(state), this.#timeoutAtMs(state));
  }

  /**
   * A stream carries heartbeats. A page does not see those of a WebSocket, so the client sends a
   * ping after a heartbeat without a message.
   */
  #pingAtMs(state: Attempt): number {
    const isDue = this.#isWebSocket(state) && state.pingedAtMs === undefined;
    return isDue ? state.lastMessageAtMs + state.heartbeatMs : NEVER;
  }

  /**
   * A stream times out after two heartbeats without a message. A WebSocket times out only after a
   * ping without a response: timers of a background page fire late, so the ping may be late, too.
   */
  #timeoutAtMs(state: Attempt): number {
    const { type, via, sinceMs, pingedAtMs, lastMessageAtMs, heartbeatMs } = state;
    if (type === 'connecting') return sinceMs + CONNECT_MS_MAX;
    if (via === 'stream') return lastMessageAtMs + 2 * heartbeatMs;
    return (pingedAtMs ?? NEVER) + heartbeatMs;
  }

  #ping(state: Attempt): void {
    state.pingedAtMs = this.#nowMs;
    this.#actions.push({ type: 'send', message: { type: 'ping' } });
  }

  #isWebSocket(state: State): state is Attempt {
    return state.type === 'connected' && state.via === 'websocket';
  }

  #scheduleAck(): void {
    if (this.#isWebSocket(this.#state)) this.#state.ackAtMs ??= this.#nowMs + ACK_DELAY_MS;
  }

  /** Confirms the newest id that the application has taken and this connection has delivered. */
  #ack(): void {
    const state = this.#state;
    if (state.type !== 'connected' || state.ackAtMs === undefined) return;
    state.ackAtMs = undefined;
    const { taken, hasGap } = this.#deliveries;
    const id = isNewer(taken, state.newestId) ? state.newestId : taken;
    // An id from before a gap could confirm a push that came after it.
    if (id === '' || hasGap || id === state.ackedId) return;
    state.ackedId = id;
    this.#actions.push({ type: 'send', message: { type: 'ack', id } });
  }

  #probe(): void {
    const state = this.#state;
    if ('attempt' in state && this.#pingAtMs(state) < NEVER) this.#ping(state);
    if (state.type !== 'waiting' || state.isFixed) return;
    // With jitter: all clients of a network that is back receive this event at once.
    this.#failures = 0;
    const untilMs = Math.min(state.untilMs, this.#nowMs + this.#jitter(0));
    this.#state = { ...state, untilMs };
  }

  #fail({ code, reason, retryAfterMs = 0, permanence }: Failure): void {
    if (code === SESSION_REPLACED) return this.#becomeReplaced();
    const tokensMax = this.options.hasToken ? TOKENS_MAX : 1;
    const isPermanent =
      permanence === 'permanent' ||
      (permanence === 'unproven' && !this.#hasConnected) ||
      (permanence === 'token' && ++this.#rejectedTokens >= tokensMax);
    if (isPermanent) return this.#becomeClosed({ reason: 'rejected', code, message: reason });
    const isConnecting = this.#state.type === 'connecting';
    if (isConnecting) this.#failedAttempts++;
    // The edge may have rejected the ticket: the next attempt uses a token.
    if (isConnecting || code === TOKEN_EXPIRED) this.#ticket = undefined;
    const retryMs = retryAfterMs + this.#jitter(this.#failures++);
    this.#becomeWaiting(retryMs, code, reason, retryAfterMs > 0);
  }

  #becomeConnecting(url?: string): void {
    const isStream =
      !this.options.hasWebSocket || this.#failedAttempts % (WEBSOCKETS_MAX + 1) === WEBSOCKETS_MAX;
    const via: Via = isStream ? 'stream' : 'websocket';
    const attempt = ++this.#attempt;
    const lastEventId = this.#deliveries.taken;
    this.#state = {
      type: 'connecting',
      attempt,
      via,
      sinceMs: this.#nowMs,
      heartbeatMs: 0,
      lastMessageAtMs: 0,
      newestId: lastEventId,
      ackedId: lastEventId,
    };
    this.#actions.push(
      { type: 'state', state: { type: 'connecting' } },
      { type: 'open', attempt, via, url, lastEventId, ticket: this.#ticket },
    );
  }

  #becomeConnected({ heartbeatMs, ticket }: ServerMessage & { type: 'welcome' }): void {
    const state = this.#state;
    if (state.type !== 'connecting') return;
    this.#failedAttempts = 0;
    this.#rejectedTokens = 0;
    this.#hasConnected = true;
    this.#ticket = ticket ?? this.#ticket;
    state.type = 'connected';
    state.sinceMs = this.#nowMs;
    state.heartbeatMs = heartbeatMs;
    this.#actions.push({ type: 'state', state: { type: 'connected', via: state.via } });
  }

  #becomeWaiting(
    retryMs: number,
    code: string,
    reason: string,
    isFixed: boolean,
    url?: string,
    attempts?: number,
  ): void {
    this.#leave(
      { type: 'waiting', untilMs: this.#nowMs + retryMs, url, isFixed },
      { type: 'waiting', retryMs, code, reason, attempts },
    );
  }

  #becomeReplaced(): void {
    if (!this.options.hasLock) return this.#becomeClosed({ reason: 'session-replaced' });
    this.#deliveries.restart();
    this.#leave({ type: 'standby' }, { type: 'standby' });
  }

  #becomeClosed(told: ClosedState): void {
    this.#deliveries.restart();
    this.#leave({ type: 'closed' }, { type: 'closed', ...told });
  }

  /** Ends the current attempt, if any. */
  #leave(next: State, told: ClientState): void {
    this.#state = next;
    this.#actions.push({ type: 'abort' }, { type: 'state', state: told });
  }

  /** Delay after so many earlier failures. */
  #jitter(failures: number): number {
    const boundMs = Math.min(LAST_BOUND_MS, FIRST_BOUND_MS * 2 ** failures);
    return Math.ceil(boundMs * this.options.random());
  }
}

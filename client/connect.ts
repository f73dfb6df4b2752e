/**
 * Longline client for browsers and Node.js: `import { connect } from '@longline/client'`.
 *
 * The client queries the router for the edge of its clientId and connects there by WebSocket, or by
 * a stream over `fetch` without WebSocket. It reconnects until it is closed, its session is
 * replaced, or it is rejected for good. `machine.ts` decides and this file performs. Pages load
 * this folder unbundled, so it must not use Node.js or any package.
 */
import type { Delivery } from './deliveries.js';
import type { ClientAction, ClientEvent, ClientState, Failure } from './events.js';
import { ConnectError, lookUp, readStream } from './http.js';
import { ClientMachine } from './machine.js';
import { type Appended, type DeviceMessage, type Push, parseMessage } from './messages.js';
import { type ConnectOptions, checkOptions } from './options.js';
import { type Locks, SessionLock } from './session-lock.js';
import { openWebSocket, type WebSocketConstructor } from './web-socket.js';

export type { Appended, ClientState, ConnectOptions, Push, WebSocketConstructor };

export interface Client {
  /**
   * Confirms the pushes taken and closes the connection for good. A push whose promise is pending
   * is not confirmed. Of the callbacks, only `onState` is called afterwards, once. Further calls
   * have no effect.
   */
  close(): void;
}

/** Globals that pages have and Node.js lacks, at least in some versions. */
interface BrowserGlobals {
  readonly WebSocket?: WebSocketConstructor;
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
  readonly navigator?: { readonly locks?: Locks };
}

// The cast is needed: every member is optional, and each is checked before use.
const globals = globalThis as unknown as BrowserGlobals;
/** Events of a page after which the connection may be dead, or a waiting client may succeed. */
const PROBE_EVENTS = ['online', 'visibilitychange'];

/** Longest delay of a timer; a longer one would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * Connects to Longline and keeps the client connected until `close()` is called, its session is
 * replaced, or another attempt would be rejected, too. Failed attempts are reported through
 * `onState` and retried with backoff.
 * @throws TypeError for invalid options
 */
export function connect(options: ConnectOptions): Client {
  checkOptions(options);
  const driver = new Driver(options);
  void driver.start();
  return { close: () => driver.close() };
}

/** Feeds events and time to the machine and performs its actions. */
class Driver {
  readonly #webSocket: WebSocketConstructor | undefined;
  readonly #machine: ClientMachine;
  readonly #lock: SessionLock | undefined;
  /** Events that arrived during a step. */
  readonly #events: (ClientEvent | null)[] = [];
  #isStepping = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Aborts the current attempt and its connection. */
  #abort = new AbortController();
  #send: ((text: string) => void) | undefined;
  readonly #probe = () => this.step({ type: 'probe' });

  constructor(readonly options: ConnectOptions) {
    const { router, clientId, lastEventId, onReplaced, token, webSocket } = options;
    this.#webSocket = webSocket ?? globals.WebSocket;
    const locks = onReplaced === 'wait' ? globals.navigator?.locks : undefined;
    this.#lock = locks && new SessionLock(locks, `longline ${router} ${clientId}`);
    this.#machine = new ClientMachine({
      hasWebSocket: Boolean(this.#webSocket),
      hasToken: Boolean(token),
      hasLock: Boolean(locks),
      lastEventId: lastEventId ?? '',
      random: Math.random,
    });
    for (const type of PROBE_EVENTS) globals.addEventListener?.(type, this.#probe);
  }

  async start(): Promise<void> {
    // Without the lock the client connects anyway.
    if (this.#lock) await this.#lock.acquire(true);
    this.step(null);
  }

  close(): void {
    this.step({ type: 'close' });
    this.#lock?.release();
  }

  /** @param event null when only time has passed */
  step(event: ClientEvent | null): void {
    this.#events.push(event);
    // A callback may call `close()`: its event is processed after the actions of this step.
    if (this.#isStepping) return;
    this.#isStepping = true;
    let wakeAtMs = 0;
    for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
      const output = this.#machine.step(performance.now(), next);
      wakeAtMs = output.wakeAtMs;
      for (const action of output.actions) this.#perform(action);
    }
    this.#isStepping = false;
    clearTimeout(this.#timer);
    if (!Number.isFinite(wakeAtMs)) return;
    const delayMs = Math.min(TIMER_MS_MAX, wakeAtMs - performance.now());
    this.#timer = setTimeout(() => this.step(null), delayMs);
  }

  #perform(action: ClientAction): void {
    switch (action.type) {
      case 'open':
        void this.#open(action);
        return;
      case 'abort':
        this.#abort.abort();
        this.#send = undefined;
        return;
      case 'send':
        return this.#sendMessage(action.message);
      case 'renew-token':
        void this.#renewToken();
        return;
      case 'deliver':
        return this.#deliver(action);
      case 'state':
        if (action.state.type === 'closed') this.#onClosed(action.state.reason);
        if (action.state.type === 'standby') void this.#waitForTurn();
        try {
          this.options.onState?.(action.state);
        } catch (error) {
          this.#report(error);
        }
        return;
      default:
        action satisfies never;
    }
  }

  async #waitForTurn(): Promise<void> {
    this.step({ type: 'turn', isGranted: await this.#lock!.waitForTurn() });
  }

  #deliver({ delivery, push }: Delivery): void {
    const { onPush, onGap } = this.options;
    const returned = (failure?: string) => this.step({ type: 'returned', delivery, failure });
    const failed = (error: unknown) => {
      this.#report(error);
      returned(String(error));
    };
    try {
      const result = (push ? onPush(push) : onGap?.()) as PromiseLike<void> | undefined;
      // Not `await`: without a promise the delivery settles within this step.
      if (result?.then) Promise.resolve(result).then(() => returned(), failed);
      else returned();
    } catch (error) {
      failed(error);
    }
  }

  async #open({ attempt, via, url, lastEventId, ticket }: ClientAction & { type: 'open' }) {
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    const onText = (text: string) =>
      this.step({ type: 'message', attempt, message: parseMessage(text) });
    const onEnd = (failure: Failure) => {
      if (!signal.aborted) this.step({ type: 'failed', attempt, failure });
    };
    try {
      const credential = hasTicket(url) ? undefined : (ticket ?? (await this.#token()));
      const edge = url ?? (await lookUp(this.options, credential, signal));
      if (signal.aborted) return;
      const edgeCredential = hasTicket(edge) ? undefined : credential;
      // Not with URLSearchParams, which would re-encode the spaces of a clientId as `+`.
      const target = lastEventId === '' ? edge : `${edge}&lastEventId=${lastEventId}`;
      if (via === 'websocket') {
        const WebSocket = this.#webSocket!;
        this.#send = openWebSocket(WebSocket, target, edgeCredential, signal, onText, onEnd);
      } else {
        await readStream(target, edgeCredential, signal, onText);
        onEnd({ code: 'STREAM_ENDED', reason: 'ended' });
      }
    } catch (error) {
      onEnd(error instanceof ConnectError ? error.failure : networkFailure(error));
    }
  }

  /** @throws ConnectError if the application has none */
  async #token(): Promise<string | undefined> {
    if (!this.options.token) return undefined;
    try {
      return await this.options.token();
    } catch (error) {
      throw new ConnectError({ code: 'TOKEN_FAILED', reason: `token: ${error}` });
    }
  }

  async #renewToken(): Promise<void> {
    const { signal } = this.#abort;
    // Without one, the connection ends when its token expires; the next attempt calls `token`
    // again.
    const token = await this.#token().catch(() => undefined);
    if (token !== undefined && !signal.aborted) this.#sendMessage({ type: 'token', token });
  }

  #sendMessage(message: DeviceMessage): void {
    this.#send?.(JSON.stringify(message));
  }

  #onClosed(reason: string): void {
    for (const type of PROBE_EVENTS) globals.removeEventListener?.(type, this.#probe);
    // After a connection outside this browser, other tabs must not replace that one.
    if (reason !== 'session-replaced') this.#lock?.release();
  }

  /** In a task of its own: what `onError` throws is uncaught. */
  #report(error: unknown): void {
    // biome-ignore lint/suspicious/noConsole: the application gave no callback for it
    const report = this.options.onError ?? console.error;
    queueMicrotask(() => report(error));
  }
}

/** Whether the URL of an edge already has a ticket, as it does where devices are authenticated. */
function hasTicket(url: string | undefined): boolean {
  return /&ticket=/.test(url ?? '');
}

/** @param error of `fetch`, which in Node.js has the reason as its cause, or of a WebSocket */
function networkFailure(error: unknown): Failure {
  return { code: 'NETWORK', reason: String(Object(error).cause ?? error) };
}

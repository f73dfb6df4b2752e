/**
 * Longline client for browsers and Node.js: `import { connect } from 'longline/client'`.
 *
 * The client queries the router for the edge of its clientId and connects there by WebSocket, or by
 * a stream over `fetch` without WebSocket. It reconnects until it is closed or its session is
 * replaced. `machine.ts` decides and this file performs. Pages load this folder unbundled, so it
 * must not use Node.js or any package.
 */
import { ConnectError, lookUp, readStream } from './http.js';
import {
  type ClientAction,
  type ClientEvent,
  ClientMachine,
  type ClientState,
  type Failure,
} from './machine.js';
import { type DeviceMessage, type Push, parseMessage } from './messages.js';
import { openWebSocket, type WebSocketConstructor } from './web-socket.js';

export type { ClientState, Push, WebSocketConstructor };

export interface ConnectOptions {
  /** Base URL of the routers, `http:` or `https:`, such as `https://push.example.com`. */
  readonly router: string;
  /**
   * Identity of this device: 1 to 256 bytes of UTF-8 without control characters. A clientId has one
   * connection: a newer one closes this client with the reason `session-replaced`.
   */
  readonly clientId: string;
  /**
   * Id of the newest push that an earlier run of the application has processed. Connecting confirms
   * the pushes up to it and delivers those after it. Without it, all unconfirmed pushes are
   * delivered.
   */
  readonly lastEventId?: string;
  /**
   * Returns a valid token; required where devices are authenticated. Called before a connect
   * without a resume ticket, and before the current token expires. A rejected promise fails the
   * attempt, which is retried with backoff.
   */
  readonly token?: () => Promise<string>;
  /**
   * WebSocket implementation; default: the global one. Node.js before 22 has none: pass that of the
   * package `ws`. Without any, the client uses a stream.
   */
  readonly webSocket?: WebSocketConstructor;
  /**
   * Called once per push, in order. A push with an id counts as processed when this returns: it is
   * confirmed within 200 ms over a WebSocket, and by the next connect over a stream. An exception
   * is reported as uncaught; the push still counts as processed.
   */
  readonly onPush: (push: Push) => void;
  /**
   * Called when pushes before the next one were lost: they expired, or the cluster had to drop
   * them. Reload the state that the pushes update.
   */
  readonly onGap?: () => void;
  /** Called on every change of state. */
  readonly onState?: (state: ClientState) => void;
}

export interface Client {
  /**
   * Confirms the pushes received and closes the connection for good. Of the callbacks, only
   * `onState` is called afterwards, once. Further calls have no effect.
   */
  close(): void;
}

/** Globals that pages have and Node.js lacks, at least in some versions. */
interface BrowserGlobals {
  readonly WebSocket?: WebSocketConstructor;
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
}

// The cast is needed: every member is optional, and each is checked before use.
const globals = globalThis as unknown as BrowserGlobals;
/** Events of a page after which the connection may be dead, or a waiting client may succeed. */
const PROBE_EVENTS = ['online', 'visibilitychange'];

/**
 * Connects to Longline and keeps the client connected until `close()` is called or its session is
 * replaced. Does not throw: a failed attempt is reported through `onState` and retried with
 * backoff.
 */
export function connect(options: ConnectOptions): Client {
  const driver = new Driver(options);
  driver.step({ type: 'start' });
  return { close: () => driver.step({ type: 'close' }) };
}

/** Feeds events and time to the machine and performs its actions. */
class Driver {
  readonly #webSocket: WebSocketConstructor | undefined;
  readonly #machine: ClientMachine;
  /** Events that arrived during a step. */
  readonly #events: (ClientEvent | null)[] = [];
  #isStepping = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Aborts the current attempt and its connection. */
  #abort = new AbortController();
  #send: ((text: string) => void) | undefined;
  readonly #probe = () => this.step({ type: 'probe' });

  constructor(readonly options: ConnectOptions) {
    this.#webSocket = options.webSocket ?? globals.WebSocket;
    const hasWebSocket = this.#webSocket !== undefined;
    this.#machine = new ClientMachine(hasWebSocket, options.lastEventId ?? '', Math.random);
    for (const type of PROBE_EVENTS) globals.addEventListener?.(type, this.#probe);
  }

  /** @param event null when only time has passed */
  step(event: ClientEvent | null): void {
    this.#events.push(event);
    // A callback may call `close()`: its event is processed after the actions of this step.
    if (this.#isStepping) return;
    this.#isStepping = true;
    let wakeAtMs = Number.POSITIVE_INFINITY;
    for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
      const output = this.#machine.step(performance.now(), next);
      wakeAtMs = output.wakeAtMs;
      for (const action of output.actions) this.#perform(action);
    }
    this.#isStepping = false;
    clearTimeout(this.#timer);
    if (wakeAtMs === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => this.step(null), Math.max(0, wakeAtMs - performance.now()));
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
      case 'push':
        return callBack(() => this.options.onPush(action.push));
      case 'gap':
        return callBack(() => this.options.onGap?.());
      case 'state':
        if (action.state.type === 'closed') this.#removeListeners();
        return callBack(() => this.options.onState?.(action.state));
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
      const { router, clientId, token } = this.options;
      const credential = hasTicket(url) ? undefined : (ticket ?? (await token?.()));
      const edge = url ?? (await lookUp(router, clientId, credential, signal));
      if (signal.aborted) return;
      const edgeCredential = hasTicket(edge) ? undefined : credential;
      // Not with URLSearchParams, which would re-encode the spaces of a clientId as `+`.
      const target = lastEventId === '' ? edge : `${edge}&lastEventId=${lastEventId}`;
      if (via === 'websocket') {
        const WebSocket = this.#webSocket!;
        this.#send = openWebSocket(WebSocket, target, edgeCredential, signal, onText, onEnd);
      } else {
        await readStream(target, edgeCredential, signal, onText);
        onEnd({ reason: 'the stream ended' });
      }
    } catch (error) {
      onEnd(error instanceof ConnectError ? error.failure : { reason: String(error) });
    }
  }

  async #renewToken(): Promise<void> {
    const { signal } = this.#abort;
    try {
      const token = await this.options.token?.();
      if (token !== undefined && !signal.aborted) this.#sendMessage({ type: 'token', token });
    } catch {
      // The connection ends when its token expires; the next attempt calls `token` again.
    }
  }

  #sendMessage(message: DeviceMessage): void {
    this.#send?.(JSON.stringify(message));
  }

  #removeListeners(): void {
    for (const type of PROBE_EVENTS) globals.removeEventListener?.(type, this.#probe);
  }
}

/** Whether the URL of an edge already has a ticket, as it does where devices are authenticated. */
function hasTicket(url: string | undefined): boolean {
  return url?.includes('&ticket=') ?? false;
}

/** Calls the application. Rethrows an exception as uncaught, as event listeners do. */
function callBack(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

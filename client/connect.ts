/**
 * A client of Longline for browsers and for Node: `import { connect } from 'longline/client'`.
 *
 * It asks the router where it belongs, connects there by WebSocket, or by a stream over `fetch`
 * where there is none, and goes on until it is closed or taken over. `machine.ts` decides; this
 * does it. Nothing in this folder may need Node or a package: a page loads it as it is.
 */
import { lookUp, readStream, Unusable } from './http.js';
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
  /** Where routers are reached: `https://push.example.com`. */
  readonly router: string;
  readonly clientId: string;
  /** The newest id that was kept from an earlier life. Without one, all that is unconfirmed comes. */
  readonly lastEventId?: string;
  /** Gives a token that is good now. Called when there is no resume ticket, and to renew. */
  readonly token?: () => Promise<string>;
  /** Where there is no global one, as in Node 20: that of `ws`. Without any, a stream is used. */
  readonly webSocket?: WebSocketConstructor;
  /** Each push once, in order. What has an id is confirmed soon after this returns. */
  readonly onPush: (push: Push) => void;
  /** Something is missing before the next push: load your state anew. */
  readonly onGap?: () => void;
  readonly onState?: (state: ClientState) => void;
}

export interface Client {
  /** Confirms what came, and ends the connection. Nothing is called any more, but `onState` once. */
  close(): void;
}

/** What a page has, and Node has not. */
interface Surroundings {
  readonly WebSocket?: WebSocketConstructor;
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
}

// The type is forced: each is looked for before it is used, and only a page has all of them.
const surroundings = globalThis as unknown as Surroundings;
/** After these, a look at the connection is worth its while. */
const NUDGES = ['online', 'visibilitychange'];

export function connect(options: ConnectOptions): Client {
  const driver = new Driver(options);
  driver.take({ type: 'start' });
  return { close: () => driver.take({ type: 'close' }) };
}

class Driver {
  readonly #webSocket: WebSocketConstructor | undefined;
  readonly #machine: ClientMachine;
  /** What has happened while something else was being done. */
  readonly #events: (ClientEvent | null)[] = [];
  #isBusy = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Ends the try that is under way. */
  #abort = new AbortController();
  #send: ((text: string) => void) | undefined;
  readonly #nudge = () => this.take({ type: 'nudge' });

  constructor(readonly options: ConnectOptions) {
    this.#webSocket = options.webSocket ?? surroundings.WebSocket;
    const hasWebSocket = this.#webSocket !== undefined;
    this.#machine = new ClientMachine(hasWebSocket, options.lastEventId ?? '', Math.random);
    for (const type of NUDGES) surroundings.addEventListener?.(type, this.#nudge);
  }

  /** @param event null: time has passed */
  take(event: ClientEvent | null): void {
    this.#events.push(event);
    // What the application is told may make it close: one thing after the other.
    if (this.#isBusy) return;
    this.#isBusy = true;
    let wakeAtMs = Number.POSITIVE_INFINITY;
    for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
      const output = this.#machine.step(performance.now(), next);
      wakeAtMs = output.wakeAtMs;
      for (const action of output.actions) this.#perform(action);
    }
    this.#isBusy = false;
    clearTimeout(this.#timer);
    if (wakeAtMs === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => this.take(null), Math.max(0, wakeAtMs - performance.now()));
  }

  #perform(action: ClientAction): void {
    switch (action.type) {
      case 'open':
        void this.#open(action);
        return;
      case 'drop':
        this.#abort.abort();
        this.#send = undefined;
        return;
      case 'send':
        return this.#say(action.message);
      case 'renew':
        void this.#renew();
        return;
      case 'push':
        return guard(() => this.options.onPush(action.push));
      case 'gap':
        return guard(() => this.options.onGap?.());
      case 'state':
        if (action.state.type === 'closed') this.#leave();
        return guard(() => this.options.onState?.(action.state));
    }
  }

  async #open({ attempt, via, url, lastEventId, ticket }: ClientAction & { type: 'open' }) {
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    const onText = (text: string) =>
      this.take({ type: 'message', attempt, message: parseMessage(text) });
    const onEnd = (failure: Failure) => {
      if (!signal.aborted) this.take({ type: 'failed', attempt, failure });
    };
    try {
      const { router, clientId, token } = this.options;
      const credential = hasTicket(url) ? undefined : (ticket ?? (await token?.()));
      const edge = url ?? (await lookUp(router, clientId, credential, signal));
      if (signal.aborted) return;
      const shown = hasTicket(edge) ? undefined : credential;
      // Not through URLSearchParams, which would write the blanks of a clientId as `+`.
      const target = lastEventId === '' ? edge : `${edge}&lastEventId=${lastEventId}`;
      if (via === 'websocket') {
        const WebSocket = this.#webSocket!;
        this.#send = openWebSocket(WebSocket, target, shown, signal, onText, onEnd);
      } else {
        await readStream(target, shown, signal, onText);
        onEnd({ why: 'the stream has ended' });
      }
    } catch (error) {
      onEnd(error instanceof Unusable ? error.failure : { why: String(error) });
    }
  }

  async #renew(): Promise<void> {
    const { signal } = this.#abort;
    try {
      const token = await this.options.token?.();
      if (token !== undefined && !signal.aborted) this.#say({ type: 'token', token });
    } catch {
      // The connection ends with its token, and the next one asks again.
    }
  }

  #say(message: DeviceMessage): void {
    this.#send?.(JSON.stringify(message));
  }

  #leave(): void {
    for (const type of NUDGES) surroundings.removeEventListener?.(type, this.#nudge);
  }
}

/** Where devices are authenticated, those who are sent somewhere are given what they need there. */
function hasTicket(url: string | undefined): boolean {
  return url?.includes('&ticket=') ?? false;
}

/** What the application throws is its own, as in any event listener, and stops nothing here. */
function guard(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

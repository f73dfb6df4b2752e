/** The options of `connect`, and their validation. */
import type { ClientState } from './events.js';
import type { Push } from './messages.js';
import type { WebSocketConstructor } from './web-socket.js';

export interface ConnectOptions {
  /** Base URL of the routers, `http:` or `https:`, such as `https://push.example.com`. */
  readonly router: string;
  /**
   * Identity of this device: 1 to 256 bytes of UTF-8 without control characters. A clientId has one
   * connection: a newer one closes this client with the reason `session-replaced`.
   */
  readonly clientId: string;
  /**
   * Labels of the connection, such as `app=web,version=5.2`, for broadcasts with a selector. The
   * cluster must permit each name (LONGLINE_EDGE_QUERY_LABELS).
   */
  readonly labels?: string;
  /**
   * Id of the newest push that an earlier run of the application has processed. Connecting confirms
   * the pushes up to it and delivers those after it. Without it, all unconfirmed pushes are
   * delivered.
   */
  readonly lastEventId?: string;
  /**
   * Returns a valid token; required where devices are authenticated. Called before a connect
   * without a resume ticket, and before the current token expires. A rejected promise fails the
   * attempt, which is retried with backoff. Two tokens rejected in a row close the client.
   */
  readonly token?: () => Promise<string>;
  /**
   * WebSocket implementation; default: the global one. Node.js before 22 has none: pass that of the
   * package `ws`. Without any, the client uses a stream.
   */
  readonly webSocket?: WebSocketConstructor;
  /**
   * Called once per push, in order, and not before the promise of the previous call is
   * over. A push with an id is taken when this returns or its promise resolves: then it is
   * confirmed, within 200 ms over a WebSocket, and by the next connect over a stream.
   *
   * If this throws or its promise rejects, neither this push nor a later one is confirmed. The
   * error goes to `onError`, the state is `waiting` with the code `PUSH_FAILED`, and after a
   * backoff of up to 30 s the client connects again and receives the push and the later ones again.
   * Only a live-only push, which exists once, is skipped.
   */
  readonly onPush: (push: Push) => unknown;
  /**
   * Called when pushes before the next one were lost: they expired, or the cluster had to drop
   * them. Reload the state that the pushes update. The next push waits for the promise, and a
   * failure is handled as one of `onPush`.
   */
  readonly onGap?: () => unknown;
  /** Called on every change of state. */
  readonly onState?: (state: ClientState) => void;
  /** Called with what another callback threw; default: `console.error`. */
  readonly onError?: (error: unknown) => void;
  /**
   * What to do when a newer connection of the clientId replaces this one. `close`, the default,
   * ends the client. `wait` is for tabs of one browser, which must all set it: the client is on
   * `standby` until the newer tab closes, then calls `onGap` and connects. Needs Web Locks, so a
   * page with https or on localhost; elsewhere, and after another browser or device, it ends the
   * client.
   */
  readonly onReplaced?: 'close' | 'wait';
}

/** Names of options, a pattern of `<type>:<value>`, and what it means. */
const RULES: readonly (readonly [names: string, pattern: RegExp, expected: string])[] = [
  ['router', /^string:https?:\/\/[^\s/?#@]+(\/[^\s?#]*)?$/i, 'an http(s) URL'],
  // The second class is that of lone surrogates.
  ['clientId', /^string:[^\p{Cc}\p{Cs}]+$/u, '1 to 256 bytes without control characters'],
  ['onPush onGap onState onError token webSocket', /^function:/, 'a function'],
  ['lastEventId', /^string:(\d+-\d+)?$/, 'a push id'],
  ['onReplaced', /^string:(close|wait)$/, "'close' or 'wait'"],
];
const REQUIRED = /router|clientId|onPush/;
const CLIENT_ID_BYTES_MAX = 256;

/** @throws TypeError that lists every problem */
export function checkOptions(options: ConnectOptions): void {
  const problems: string[] = [];
  for (const [names, pattern, expected] of RULES) {
    for (const name of names.split(' ')) {
      const value = Object(options)[name] ?? undefined;
      const isTooLong = name === 'clientId' && new Blob([value]).size > CLIENT_ID_BYTES_MAX;
      const isMissing = value === undefined;
      if (isMissing ? !REQUIRED.test(name) : !isTooLong && pattern.test(`${typeof value}:${value}`))
        continue;
      problems.push(`${name} is ${isMissing ? 'missing' : 'invalid'}, expected ${expected}`);
    }
  }
  if (problems.length > 0) throw new TypeError(problems.join('; '));
}

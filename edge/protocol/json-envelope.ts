/**
 * What a device is told as JSON: one object per line (`ndjson.ts`) or per WebSocket message. `type`
 * says what it is; a device must ignore types that it does not know.
 */
import { isUtf8 } from 'node:buffer';
import type { Message } from './protocol.js';

/** The first one. */
export interface Welcome {
  readonly type: 'welcome';
  readonly clientId: string;
  readonly heartbeatMs: number;
  /** With which the device may come back; absent where nobody needs one. */
  readonly ticket: string | undefined;
}

export type Envelope =
  | Welcome
  /** The history since the id that the device named is not complete; all that is stored follows. */
  | { readonly type: 'reset' }
  | { readonly type: 'heartbeat' }
  /** What answers the `ping` of a device. */
  | { readonly type: 'pong' }
  /** The last one: connect to `url`, or to the router if there is none, after `retryMs`. */
  | { readonly type: 'goaway'; readonly retryMs: number; readonly url?: string | undefined }
  /** The last one: the client has connected elsewhere. Do not reconnect. */
  | { readonly type: 'session-replaced' }
  /** The token of the device ends in so many milliseconds. */
  | { readonly type: 'expiring'; readonly inMs: number }
  /** A newer ticket, after a newer token. */
  | { readonly type: 'ticket'; readonly ticket: string }
  /** The last one: the token has ended. Connect with a new one. */
  | { readonly type: 'expired' };

export function envelopeText(envelope: Envelope): string {
  return JSON.stringify(envelope);
}

/** `data` is a payload that is UTF-8, as it is; `base64` any other. A live-only push has no id. */
export function pushText({ id, payload, contentType }: Message): string {
  return JSON.stringify({
    type: 'push',
    ...(id === '' ? {} : { id }),
    ...(contentType === '' ? {} : { contentType }),
    ...(isUtf8(payload) ? { data: payload.toString() } : { base64: payload.toString('base64') }),
  });
}

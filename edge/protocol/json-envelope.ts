/**
 * JSON messages to a device: one object per line (`http/ndjson.ts`) or per WebSocket message
 * (`websocket/json.ts`). A device must ignore a `type` that it does not know.
 */
import { isUtf8 } from 'node:buffer';
import type { Message } from './protocol.js';

/** First message on a connection. */
export interface Welcome {
  readonly type: 'welcome';
  readonly clientId: string;
  readonly heartbeatMs: number;
  /** Resume ticket for the next connect; absent if devices are not authenticated. */
  readonly ticket: string | undefined;
}

export type Envelope =
  | Welcome
  /** Pushes since the device's last id were lost. All pushes still stored follow, after `id`. */
  | { readonly type: 'reset'; readonly id?: string }
  | { readonly type: 'heartbeat' }
  /** Response to a device's `ping`. */
  | { readonly type: 'pong' }
  /** Last message: connect to `url`, or to the router if it is absent, after `retryMs`. */
  | { readonly type: 'goaway'; readonly retryMs: number; readonly url?: string | undefined }
  /** Last message: the client has a newer connection. Do not reconnect. */
  | { readonly type: 'session-replaced' }
  /** The token expires in `inMs` milliseconds. */
  | { readonly type: 'expiring'; readonly inMs: number }
  /** New resume ticket, sent after a renewed token. */
  | { readonly type: 'ticket'; readonly ticket: string }
  /** Response to a device's `join` or `leave`. */
  | { readonly type: 'joined' | 'left'; readonly group: string }
  /** The same, if the device may not, or the group could not be changed. */
  | {
      readonly type: 'group-error';
      readonly group: string;
      readonly code: string;
      readonly message: string;
    }
  /** Last message: the token has expired, or it was revoked. Connect with a new one. */
  | { readonly type: 'expired'; readonly code?: 'TOKEN_REVOKED' };

export function envelopeText(envelope: Envelope): string {
  return JSON.stringify(envelope);
}

/**
 * Encodes a push. A UTF-8 payload is in `data` unchanged, any other in `base64`. A live-only push
 * has no id.
 */
export function pushText(message: Message): string {
  const { id, contentType } = message;
  return JSON.stringify({
    type: 'push',
    ...(id === '' ? {} : { id }),
    ...(contentType === '' ? {} : { contentType }),
    ...contentOf(message),
  });
}

/** Encodes a part of a growing message for a protocol that has the id elsewhere. */
export function partText(message: Message): string {
  return JSON.stringify(contentOf(message));
}

function contentOf({ payload, appended }: Message): object {
  return {
    ...(appended && { appendTo: appended.to, offset: appended.offset }),
    ...(appended?.isEnd && { end: true }),
    ...(isUtf8(payload) ? { data: payload.toString() } : { base64: payload.toString('base64') }),
  };
}

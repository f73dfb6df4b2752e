/**
 * Server-sent events (HTML §9.2, https://html.spec.whatwg.org/#server-sent-events).
 *
 * A payload that is UTF-8 becomes the data of a `message` event. The format has no escape for line
 * ends, so CR, LF and CRLF each end a line and arrive as LF. A payload that is not UTF-8 arrives as
 * the data of a `base64` event. An empty payload arrives as an event with empty data.
 */
import { isUtf8 } from 'node:buffer';
import type { Connection } from '../../../common/transport/transport.js';
import { streamHead } from '../../../common/wire/http-response.js';
import type { EndReason, Host, Message, Protocol } from '../protocol.js';

/** How long a client waits before it reconnects, in milliseconds. */
const RETRY_MS = 1_000;
/** A client that was taken over has a newer connection: two of them must not chase each other. */
const RETRY_SESSION_REPLACED_MS = 30_000;

const FIRST_WORDS = `retry: ${RETRY_MS}\n\n`;
const LINE_END = /\r\n|\r|\n/;
const LF = 0x0a;
const CR = 0x0d;

/** A comment: keeps middleboxes from forgetting the connection, and finds dead peers. */
export const SSE_HEARTBEAT = Buffer.from(':\n\n');

/** The last event on a connection whose client has connected again elsewhere. */
export const SSE_SESSION_REPLACED = Buffer.from(
  `retry: ${RETRY_SESSION_REPLACED_MS}\nevent: session-replaced\ndata: {}\n\n`,
);

/**
 * The history of the client is not complete: something may have expired, or had to go, since the id
 * that it named. Everything still stored follows.
 */
export const SSE_RESET = Buffer.from('event: reset\ndata: {}\n\n');

/** The last event on a connection whose token has ended: the device is to get a new one. */
export const SSE_EXPIRED = Buffer.from(
  `retry: ${RETRY_SESSION_REPLACED_MS}\nevent: expired\ndata: {}\n\n`,
);

/**
 * The last event on a connection whose client belongs elsewhere.
 * @param url where to connect; undefined: nobody knows, the router is to be asked
 */
export function sseGoaway(retryMs: number, url: string | undefined): Buffer {
  return Buffer.from(`retry: ${retryMs}\nevent: goaway\ndata: ${JSON.stringify({ url })}\n\n`);
}

/**
 * The response head, and the first bytes of the stream. The body ends with the connection.
 * @param ticket an event that says it, where there is one
 */
export function sseOpening(
  corsHeaders: readonly (readonly [string, string])[],
  ticket?: string,
): Buffer {
  const head = streamHead('text/event-stream', corsHeaders, FIRST_WORDS);
  if (ticket === undefined) return head;
  return Buffer.concat([head, Buffer.from(`event: ticket\ndata: {"ticket":"${ticket}"}\n\n`)]);
}

/** @param id without line ends and NUL, which our ids never have; empty: the event has no id */
export function sseEvent(id: string, payload: Buffer): Buffer {
  const idLine = id === '' ? '' : `id: ${id}\n`;
  if (!isUtf8(payload)) {
    return Buffer.from(`${idLine}event: base64\ndata: ${payload.toString('base64')}\n\n`);
  }
  if (payload.includes(LF) || payload.includes(CR)) {
    const lines = payload.toString().split(LINE_END);
    return Buffer.from(`${idLine}${lines.map((line) => `data: ${line}\n`).join('')}\n`);
  }
  // The common case: one line, copied once.
  const before = `${idLine}data: `;
  const event = Buffer.allocUnsafe(before.length + payload.length + 2);
  event.write(before, 0, 'latin1');
  payload.copy(event, before.length);
  event.write('\n\n', before.length + payload.length, 'latin1');
  return event;
}

/** Devices only listen: whatever they send ends the connection. */
export class SseProtocol implements Protocol {
  readonly name = 'sse';
  readonly isEncodingShared = true;
  readonly heartbeat = SSE_HEARTBEAT;
  readonly reset = SSE_RESET;

  host!: Host;

  encodePush(_: Connection, { id, payload }: Message): Buffer {
    return sseEvent(id, payload);
  }

  encodeGoaway(_: Connection, retryMs: number, url: string | undefined): Buffer {
    return sseGoaway(retryMs, url);
  }

  encodeClose(_: Connection, reason: EndReason): Buffer | undefined {
    if (reason === 'expired') return SSE_EXPIRED;
    return reason === 'session_replaced' ? SSE_SESSION_REPLACED : undefined;
  }

  encodeTokenExpiring(_: Connection, inMs: number): Buffer {
    return Buffer.from(`event: expiring\ndata: {"inMs":${inMs}}\n\n`);
  }

  onBytes(connection: Connection): void {
    this.host.end(connection, 'unexpected_bytes');
  }
}

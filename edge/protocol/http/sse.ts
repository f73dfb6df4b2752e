/**
 * Server-sent events (HTML §9.2, https://html.spec.whatwg.org/#server-sent-events).
 *
 * A UTF-8 payload is the data of a `message` event. The format cannot escape line breaks, so CR, LF
 * and CRLF all arrive as LF. Any other payload is the data of a `base64` event. An empty payload
 * arrives as an event with empty data.
 */
import { isUtf8 } from 'node:buffer';
import type { Connection } from '../../../common/transport/transport.js';
import { streamHead } from '../../../common/wire/http-response.js';
import type { EndReason, Message, Protocol } from '../protocol.js';

/** Reconnect delay of the client after a lost connection. */
const RETRY_MS = 1_000;
/** Longer, so that two devices with the same clientId do not replace each other in a loop. */
const RETRY_SESSION_REPLACED_MS = 30_000;

const RETRY_FIELD = `retry: ${RETRY_MS}\n\n`;
const LINE_BREAK = /\r\n|\r|\n/;
const LF = 0x0a;
const CR = 0x0d;

/** A comment: keeps NAT and proxy state alive, and detects dead peers. */
export const SSE_HEARTBEAT = Buffer.from(':\n\n');

/** Last event on a connection whose client has a newer one. */
export const SSE_SESSION_REPLACED = Buffer.from(
  `retry: ${RETRY_SESSION_REPLACED_MS}\nevent: session-replaced\ndata: {}\n\n`,
);

/**
 * Reports a gap: pushes after the client's Last-Event-ID may have expired or been evicted. All
 * pushes still stored follow.
 */
export const SSE_RESET = Buffer.from('event: reset\ndata: {}\n\n');

/** Last event on a connection whose token has expired: the device must obtain a new one. */
export const SSE_EXPIRED = Buffer.from(
  `retry: ${RETRY_SESSION_REPLACED_MS}\nevent: expired\ndata: {}\n\n`,
);

/**
 * Encodes the last event before a goaway closes the connection.
 * @param url where to connect next; undefined: ask the router
 */
export function sseGoaway(retryMs: number, url: string | undefined): Buffer {
  return Buffer.from(`retry: ${retryMs}\nevent: goaway\ndata: ${JSON.stringify({ url })}\n\n`);
}

/**
 * Encodes the response head and the first bytes of the stream. The body ends with the connection.
 * @param ticket resume ticket, sent as an event; undefined if devices are not authenticated
 */
export function sseOpening(
  corsHeaders: readonly (readonly [string, string])[],
  ticket?: string,
): Buffer {
  const head = streamHead('text/event-stream', corsHeaders, RETRY_FIELD);
  if (ticket === undefined) return head;
  return Buffer.concat([head, Buffer.from(`event: ticket\ndata: {"ticket":"${ticket}"}\n\n`)]);
}

/** @param id contains no line break or NUL, as push ids never do; '' for an event without an id */
export function sseEvent(id: string, payload: Buffer): Buffer {
  const idLine = id === '' ? '' : `id: ${id}\n`;
  if (!isUtf8(payload)) {
    return Buffer.from(`${idLine}event: base64\ndata: ${payload.toString('base64')}\n\n`);
  }
  if (payload.includes(LF) || payload.includes(CR)) {
    const lines = payload.toString().split(LINE_BREAK);
    return Buffer.from(`${idLine}${lines.map((line) => `data: ${line}\n`).join('')}\n`);
  }
  // Common case: one line, copied once.
  const before = `${idLine}data: `;
  const event = Buffer.allocUnsafe(before.length + payload.length + 2);
  event.write(before, 0, 'latin1');
  payload.copy(event, before.length);
  event.write('\n\n', before.length + payload.length, 'latin1');
  return event;
}

/** Devices send nothing after the request; any byte ends the connection. */
export class SseProtocol implements Protocol {
  readonly name = 'sse';
  readonly isEncodingShared = true;
  readonly heartbeat = SSE_HEARTBEAT;
  readonly reset = SSE_RESET;

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
}

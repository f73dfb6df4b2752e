/**
 * Server-sent events (HTML §9.2, https://html.spec.whatwg.org/#server-sent-events).
 *
 * A UTF-8 payload is the data of a `message` event. The format cannot escape line breaks, so CR, LF
 * and CRLF all arrive as LF. Any other payload is the data of a `base64` event. An empty payload
 * arrives as an event with empty data. A part of a growing message is an `append` event, whose data
 * is JSON.
 *
 * An empty line ends an event, and some client libraries report an event for an empty line after a
 * comment or a `retry` field alone. So an empty line follows only `data`: the heartbeat and the
 * first `retry` are lines in front of the next event.
 */
import { isUtf8 } from 'node:buffer';
import type { Connection } from '../../../common/transport/transport.js';
import {
  type BodyFraming,
  frameLastPart,
  framePart,
  partBytes,
} from '../../../common/wire/body-framing.js';
import { streamHead } from '../../../common/wire/http-response.js';
import { partText } from '../json-envelope.js';
import type { EndReason, Message, Protocol } from '../protocol.js';
import { lastPartOf, type StreamWelcome } from './stream.js';

/** Reconnect delay of the client after a lost connection. */
const RETRY_MS = 1_000;
/** Longer, so that two devices with the same clientId do not replace each other in a loop. */
const RETRY_SESSION_REPLACED_MS = 30_000;

const RETRY_FIELD = `retry: ${RETRY_MS}\n`;
const LINE_BREAK = /\r\n|\r|\n/;
const LF = 0x0a;
const CR = 0x0d;

/** A comment: keeps NAT and proxy state alive, and detects dead peers. */
const HEARTBEAT = ':\n';

/** Last event on a connection, by the reason of its end. */
const LAST_EVENTS: Partial<Record<EndReason, string>> = {
  session_replaced: `retry: ${RETRY_SESSION_REPLACED_MS}\nevent: session-replaced\ndata: {}\n\n`,
  /** The device must obtain a new token. */
  expired: `retry: ${RETRY_SESSION_REPLACED_MS}\nevent: expired\ndata: {}\n\n`,
  revoked: `retry: ${RETRY_SESSION_REPLACED_MS}\nevent: expired\ndata: {"code":"TOKEN_REVOKED"}\n\n`,
};

/** Devices send nothing after the request; any byte ends the connection. */
export class SseProtocol implements Protocol {
  readonly name = 'sse';
  readonly isEncodingShared = true;
  readonly joinsParts = true;
  readonly heartbeat: Buffer;

  constructor(readonly framing: BodyFraming) {
    this.heartbeat = framePart(framing, HEARTBEAT);
  }

  /** Encodes the response head and the first bytes of the stream. A ticket is sent as an event. */
  encodeOpening(
    corsHeaders: readonly (readonly [string, string])[],
    { ticket }: Pick<StreamWelcome, 'ticket'>,
  ): Buffer {
    const head = streamHead('text/event-stream', this.framing, corsHeaders, RETRY_FIELD);
    if (ticket === undefined) return head;
    return Buffer.concat([head, this.#event(`event: ticket\ndata: {"ticket":"${ticket}"}\n\n`)]);
  }

  encodePush(_: Connection, message: Message): Buffer {
    const { id, payload, appended } = message;
    if (appended === undefined) return sseEvent(this.framing, id, payload);
    return this.#event(`${idField(id)}event: append\ndata: ${partText(message)}\n\n`);
  }

  messageBytes(encoded: Buffer): number {
    return partBytes(this.framing, encoded);
  }

  encodeReset(_: Connection, id: string): Buffer {
    return this.#event(`${idField(id)}event: reset\ndata: {}\n\n`);
  }

  encodeGoaway(_: Connection, retryMs: number, url: string | undefined): Buffer | undefined {
    const data = JSON.stringify({ url });
    return frameLastPart(this.framing, `retry: ${retryMs}\nevent: goaway\ndata: ${data}\n\n`);
  }

  encodeClose(_: Connection, reason: EndReason): Buffer | undefined {
    return lastPartOf(this.framing, reason, LAST_EVENTS[reason]);
  }

  encodeTokenExpiring(_: Connection, inMs: number): Buffer {
    return this.#event(`event: expiring\ndata: {"inMs":${inMs}}\n\n`);
  }

  #event(text: string): Buffer {
    return framePart(this.framing, text);
  }
}

/** @param id contains no line break or NUL, as push ids never do; '' for an event without an id */
export function sseEvent(framing: BodyFraming, id: string, payload: Buffer): Buffer {
  if (!isUtf8(payload)) {
    const data = payload.toString('base64');
    return framePart(framing, `${idField(id)}event: base64\ndata: ${data}\n\n`);
  }
  if (payload.includes(LF) || payload.includes(CR)) {
    const lines = payload.toString().split(LINE_BREAK);
    return framePart(framing, `${idField(id)}${lines.map((line) => `data: ${line}\n`).join('')}\n`);
  }
  // Common case: one line, copied once.
  const fields = `${idField(id)}data: `;
  const before = `${framing.before(fields.length + payload.length + 2)}${fields}`;
  const after = `\n\n${framing.after}`;
  const event = Buffer.allocUnsafe(before.length + payload.length + after.length);
  event.write(before, 0, 'latin1');
  payload.copy(event, before.length);
  event.write(after, before.length + payload.length, 'latin1');
  return event;
}

function idField(id: string): string {
  return id === '' ? '' : `id: ${id}\n`;
}

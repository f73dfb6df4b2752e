/**
 * Newline-delimited JSON over an unending HTTP response, for clients without a parser for
 * server-sent events: one envelope per line. JSON escapes line breaks, so payloads arrive exactly.
 */

import type { Connection } from '../../../common/transport/transport.js';
import {
  type BodyFraming,
  frameLastPart,
  framePart,
  partBytes,
} from '../../../common/wire/body-framing.js';
import { streamHead } from '../../../common/wire/http-response.js';
import { type Envelope, envelopeText, pushText } from '../json-envelope.js';
import type { EndReason, Message, Protocol } from '../protocol.js';
import { lastPartOf, type StreamWelcome } from './stream.js';

/** Last line on a connection, by the reason of its end. */
const LAST_LINES: Partial<Record<EndReason, string>> = {
  session_replaced: lineText({ type: 'session-replaced' }),
  expired: lineText({ type: 'expired' }),
  revoked: lineText({ type: 'expired', code: 'TOKEN_REVOKED' }),
};

/** Devices send nothing after the request; any byte ends the connection. */
export class NdjsonProtocol implements Protocol {
  readonly name = 'ndjson';
  readonly isEncodingShared = true;
  readonly joinsParts = true;
  readonly heartbeat: Buffer;

  constructor(readonly framing: BodyFraming) {
    this.heartbeat = this.#line({ type: 'heartbeat' });
  }

  /** Encodes the response head and the welcome. */
  encodeOpening(
    corsHeaders: readonly (readonly [string, string])[],
    welcome: StreamWelcome,
  ): Buffer {
    const head = streamHead('application/x-ndjson', this.framing, corsHeaders, '');
    return Buffer.concat([head, this.#line({ type: 'welcome', ...welcome })]);
  }

  encodePush(_: Connection, message: Message): Buffer {
    return framePart(this.framing, `${pushText(message)}\n`);
  }

  /** Size of the line without its line feed. */
  messageBytes(encoded: Buffer): number {
    return partBytes(this.framing, encoded) - 1;
  }

  encodeReset(_: Connection, id: string): Buffer {
    return this.#line({ type: 'reset', ...(id !== '' && { id }) });
  }

  encodeGoaway(_: Connection, retryMs: number, url: string | undefined): Buffer | undefined {
    return frameLastPart(this.framing, lineText({ type: 'goaway', retryMs, url }));
  }

  encodeClose(_: Connection, reason: EndReason): Buffer | undefined {
    return lastPartOf(this.framing, reason, LAST_LINES[reason]);
  }

  encodeTokenExpiring(_: Connection, inMs: number): Buffer {
    return this.#line({ type: 'expiring', inMs });
  }

  #line(envelope: Envelope): Buffer {
    return framePart(this.framing, lineText(envelope));
  }
}

function lineText(envelope: Envelope): string {
  return `${envelopeText(envelope)}\n`;
}

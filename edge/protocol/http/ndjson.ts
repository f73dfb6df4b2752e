/**
 * Newline-delimited JSON over an unending HTTP response, for clients without a parser for
 * server-sent events: one envelope per line. JSON escapes line breaks, so payloads arrive exactly.
 */

import type { Connection } from '../../../common/transport/transport.js';
import { streamHead } from '../../../common/wire/http-response.js';
import { type Envelope, envelopeText, pushText, type Welcome } from '../json-envelope.js';
import type { EndReason, Message, Protocol } from '../protocol.js';

const RESET = line({ type: 'reset' });
const HEARTBEAT = line({ type: 'heartbeat' });
const SESSION_REPLACED = line({ type: 'session-replaced' });
const EXPIRED = line({ type: 'expired' });

/** Encodes the response head and the welcome. */
export function ndjsonOpening(
  corsHeaders: readonly (readonly [string, string])[],
  welcome: Omit<Welcome, 'type'>,
): Buffer {
  const head = streamHead('application/x-ndjson', corsHeaders, '');
  return Buffer.concat([head, line({ type: 'welcome', ...welcome })]);
}

/** Devices send nothing after the request; any byte ends the connection. */
export class NdjsonProtocol implements Protocol {
  readonly name = 'ndjson';
  readonly isEncodingShared = true;
  readonly heartbeat = HEARTBEAT;
  readonly reset = RESET;

  encodePush(_: Connection, message: Message): Buffer {
    return Buffer.from(`${pushText(message)}\n`);
  }

  encodeGoaway(_: Connection, retryMs: number, url: string | undefined): Buffer {
    return line({ type: 'goaway', retryMs, url });
  }

  encodeClose(_: Connection, reason: EndReason): Buffer | undefined {
    if (reason === 'expired') return EXPIRED;
    return reason === 'session_replaced' ? SESSION_REPLACED : undefined;
  }

  encodeTokenExpiring(_: Connection, inMs: number): Buffer {
    return line({ type: 'expiring', inMs });
  }
}

function line(envelope: Envelope): Buffer {
  return Buffer.from(`${envelopeText(envelope)}\n`);
}

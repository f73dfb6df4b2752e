/** Parts that both streams over HTTP share: `sse.ts` and `ndjson.ts`. */
import { type BodyFraming, frameLastPart } from '../../../common/wire/body-framing.js';
import type { Welcome } from '../json-envelope.js';
import type { EndReason } from '../protocol.js';

export type StreamWelcome = Omit<Welcome, 'type'>;

/** The peer does not read what follows these. */
const NOT_READ: ReadonlySet<EndReason> = new Set(['peer', 'error', 'slow']);

/** Encodes the end of the body, after `text` if there is any; undefined for no bytes at all. */
export function lastPartOf(framing: BodyFraming, reason: EndReason, text = ''): Buffer | undefined {
  return NOT_READ.has(reason) ? undefined : frameLastPart(framing, text);
}

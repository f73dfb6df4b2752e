/**
 * Payload of a push: text with the number of the push and its clientId, so that a receipt
 * identifies the push, and a digest shows whether a byte of it has changed.
 */
import { crc32 } from 'node:zlib';

/** Characters of two, three and four bytes in UTF-8: a split inside a character becomes visible. */
const FILLER = 'é—𝄞 longline ';

export interface PayloadFacts {
  readonly clientId: string;
  readonly number: number;
}

/** @param bytesMin the payload is padded to about this size */
export function makePayload({ clientId, number }: PayloadFacts, bytesMin: number): Buffer {
  const head = `${number} ${clientId} `;
  const repetitions = Math.max(0, Math.ceil((bytesMin - head.length) / Buffer.byteLength(FILLER)));
  return Buffer.from(`${head}${FILLER.repeat(repetitions)}.`);
}

/** Returns the number of the push; undefined for text that is not a payload of the drill. */
export function numberOf(payload: string): number | undefined {
  const match = /^(\d{1,15}) \S+ /.exec(payload);
  return match === null ? undefined : Number(match[1]);
}

/** Returns the payloads of a text in which several are joined. */
export function splitPayloads(text: string): string[] {
  return text.match(/[^.]*\.|[^.]+$/g) ?? [text];
}

export function digestOf(payload: Buffer | string): number {
  return crc32(payload);
}

/**
 * What the drill pushes: text that says which push it is and for whom, so that a receipt can be
 * told from every other push, and is known for damaged when a byte of it has changed.
 */
import { crc32 } from 'node:zlib';

/** Two, three and four bytes of UTF-8: a cut in the wrong place shows. */
const FILLER = 'é—𝄞 longline ';

export interface PayloadFacts {
  readonly clientId: string;
  readonly number: number;
}

/** @param bytesMin it is filled up to about this */
export function makePayload({ clientId, number }: PayloadFacts, bytesMin: number): Buffer {
  const head = `${number} ${clientId} `;
  const times = Math.max(0, Math.ceil((bytesMin - head.length) / Buffer.byteLength(FILLER)));
  return Buffer.from(`${head}${FILLER.repeat(times)}.`);
}

/** The number of the push; undefined for anything that is no payload of ours. */
export function numberOf(payload: string): number | undefined {
  const match = /^(\d{1,15}) \S+ /.exec(payload);
  return match === null ? undefined : Number(match[1]);
}

export function digestOf(payload: Buffer | string): number {
  return crc32(payload);
}

/**
 * Ways in which a connection can deliver the same bytes: whole, byte by byte, and split anywhere. A
 * parser must give the same result for all of them.
 */
import { seededRandom } from '../../sim/random.js';

const RANDOM_CHUNKINGS = 20;

/** @param seed of the random chunkings, to reproduce a failure */
export function* chunkings(bytes: Buffer, seed = 1): Generator<Buffer[]> {
  yield [bytes];
  yield [...bytes].map((byte) => Buffer.of(byte));
  const random = seededRandom(seed);
  for (let i = 0; i < RANDOM_CHUNKINGS; i++) yield randomChunks(bytes, random);
}

function randomChunks(bytes: Buffer, random: () => number): Buffer[] {
  const pieces: Buffer[] = [];
  const longest = Math.max(12, bytes.length / 16);
  for (let at = 0; at < bytes.length; ) {
    const until = Math.min(bytes.length, at + 1 + Math.floor(random() * longest));
    // A copy: a parser that keeps a piece must not find its bytes intact by luck.
    pieces.push(Buffer.from(bytes.subarray(at, until)));
    at = until;
  }
  return pieces;
}

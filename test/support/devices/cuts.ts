/**
 * The ways in which bytes can come over a connection: whole, one at a time, and cut anywhere. A byte
 * machine must make the same of all of them.
 */
import { seededRandom } from '../../sim/random.js';

const RANDOM_CUTS = 20;

/** @param seed of the random cuts, so that a failure can be repeated */
export function* waysToCut(bytes: Buffer, seed = 1): Generator<Buffer[]> {
  yield [bytes];
  yield [...bytes].map((byte) => Buffer.of(byte));
  const random = seededRandom(seed);
  for (let i = 0; i < RANDOM_CUTS; i++) yield cutAtRandom(bytes, random);
}

function cutAtRandom(bytes: Buffer, random: () => number): Buffer[] {
  const pieces: Buffer[] = [];
  const longest = Math.max(12, bytes.length / 16);
  for (let at = 0; at < bytes.length; ) {
    const until = Math.min(bytes.length, at + 1 + Math.floor(random() * longest));
    // A copy of its own: who keeps a piece must not find it intact by luck.
    pieces.push(Buffer.from(bytes.subarray(at, until)));
    at = until;
  }
  return pieces;
}

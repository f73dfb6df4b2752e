/**
 * Reads 64-bit numbers as numbers where these are exact. A BigInt and its text, which generated
 * code makes of each, take several times as long; it takes anything with `toString`. Pure.
 */
import { BinaryReader } from '@bufbuild/protobuf/wire';

/** Maximum bytes of a number that a double represents exactly: 49 bits. */
const EXACT_BYTES_MAX = 7;

export class NumberReader extends BinaryReader {
  constructor(
    readonly from: Uint8Array,
    decodeUtf8?: (bytes: Uint8Array) => string,
  ) {
    super(from, decodeUtf8);
  }

  override uint64(): bigint | string {
    const end = Math.min(this.pos + EXACT_BYTES_MAX, this.len);
    let value = 0;
    let scale = 1;
    for (let at = this.pos; at < end; at++) {
      const byte = this.from[at]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        this.pos = at + 1;
        // The declared type is that of the library.
        return value as unknown as bigint;
      }
      scale *= 128;
    }
    return super.uint64();
  }
}

/**
 * Fields of protobuf messages that are written and read by hand, in the order in which they are
 * written. Pure.
 */

/** Reads fields. One that is not next has its default value. */
export class FieldReader {
  constructor(
    readonly bytes: Buffer,
    /** Where the next field starts. */
    public at: number,
  ) {}

  /** Reads a number, or the length of a field, if this tag is next; else returns 0. */
  varint(tag: number): number {
    if (this.bytes[this.at] !== tag) return 0;
    let value = 0;
    let scale = 1;
    let byte: number;
    do {
      byte = this.bytes[++this.at] ?? 0;
      value += (byte & 0x7f) * scale;
      scale *= 128;
    } while (byte >= 0x80);
    this.at++;
    return value;
  }

  /** Reads a text if this tag is next; else returns an empty one. */
  text(tag: number): string {
    const length = this.varint(tag);
    if (length === 0) return '';
    const from = this.at;
    this.at += length;
    return this.bytes.toString('utf8', from, this.at);
  }

  /** Reads the bytes of a field if this tag is next, and it has some. */
  part(tag: number): Buffer | undefined {
    const length = this.varint(tag);
    if (length === 0) return undefined;
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
}

/** Bytes of a field with a length: its tag, its length and its content. */
export function sizeWithLength(length: number): number {
  return 1 + varintSize(length) + length;
}

export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 128; rest /= 128) size++;
  return size;
}

/** Returns where the next byte belongs. */
export function writeVarint(bytes: Buffer, from: number, tag: number, value: number): number {
  let at = from;
  bytes[at++] = tag;
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes[at++] = (rest % 128) | 0x80;
  bytes[at++] = rest;
  return at;
}

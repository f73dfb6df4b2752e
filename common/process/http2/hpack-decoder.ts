/** Decodes the header blocks of one connection (RFC 7541), whose dynamic table it keeps. */
import { type Field, fieldBytes, HpackTable } from './hpack-table.js';
import { decodeHuffman } from './huffman.js';
import { ERROR, Http2Error } from './protocol.js';

const HUFFMAN = 0x80;
const NAME = /^:?[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const INVALID_IN_VALUE = /[\0\r\n]|^[ \t]|[ \t]$/;

export class HpackDecoder {
  readonly #table = new HpackTable();
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #end = 0;

  /** @param listBytesMax of the decoded fields, by the measure of SETTINGS_MAX_HEADER_LIST_SIZE */
  constructor(readonly listBytesMax: number) {}

  /**
   * Returns the fields; undefined: they are over the maximum. Either way the table has followed.
   * @throws Http2Error when the block is invalid, after which the connection cannot go on
   */
  decode(bytes: Buffer, start: number, end: number): Field[] | undefined {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    const fields: Field[] = [];
    let listBytes = 0;
    this.#resizeTable();
    while (this.#at < end) {
      const field = this.#readField();
      listBytes += fieldBytes(field);
      if (listBytes <= this.listBytesMax) fields.push(field);
    }
    return listBytes <= this.listBytesMax ? fields : undefined;
  }

  /** Size updates stand at the start of a block (§4.2). */
  #resizeTable(): void {
    while (this.#at < this.#end && this.#bytes[this.#at]! >> 5 === 1) {
      this.#table.resize(this.#readInteger(5));
    }
  }

  #readField(): Field {
    const first = this.#bytes[this.#at]!;
    if (first & 0x80) return this.#table.get(this.#readInteger(7)); // §6.1
    if (first & 0x40) {
      const field = this.#readLiteral(6); // §6.2.1
      this.#table.add(field);
      return field;
    }
    if (first & 0x20) throw invalid('the size of the table changes within a block');
    return this.#readLiteral(4); // §6.2.2, §6.2.3
  }

  #readLiteral(prefixBits: number): Field {
    const index = this.#readInteger(prefixBits);
    const name = index === 0 ? this.#readString() : this.#table.get(index).name;
    const value = this.#readString();
    return { name, value, isValid: NAME.test(name) && !INVALID_IN_VALUE.test(value) };
  }

  #readString(): string {
    if (this.#at >= this.#end) throw invalid('a string is missing');
    const isHuffman = (this.#bytes[this.#at]! & HUFFMAN) !== 0;
    const length = this.#readInteger(7);
    const start = this.#at;
    this.#at += length;
    if (this.#at > this.#end) throw invalid('a string is longer than its block');
    return isHuffman
      ? decodeHuffman(this.#bytes, start, this.#at)
      : this.#bytes.toString('latin1', start, this.#at);
  }

  /** §5.1 */
  #readInteger(prefixBits: number): number {
    const prefixMax = (1 << prefixBits) - 1;
    let value = this.#bytes[this.#at++]! & prefixMax;
    if (value < prefixMax) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= this.#end) throw invalid('an integer is incomplete');
      const byte = this.#bytes[this.#at++]!;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw invalid('an integer is too large');
  }
}

function invalid(message: string): Http2Error {
  return new Http2Error(ERROR.compression, message);
}

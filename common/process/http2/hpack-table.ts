/** The static and the dynamic table of HPACK (RFC 7541 §2.3). */
import { ERROR, Http2Error } from './protocol.js';

export interface Field {
  readonly name: string;
  readonly value: string;
  /** Name and value have only characters that they may have (RFC 9113 §8.2.1). */
  readonly isValid: boolean;
}

export type NameAndValue = Pick<Field, 'name' | 'value'>;

/** Appendix A, in order. */
const STATIC: readonly Field[] = (
  [
    [':authority', ''],
    [':method', 'GET'],
    [':method', 'POST'],
    [':path', '/'],
    [':path', '/index.html'],
    [':scheme', 'http'],
    [':scheme', 'https'],
    [':status', '200'],
    [':status', '204'],
    [':status', '206'],
    [':status', '304'],
    [':status', '400'],
    [':status', '404'],
    [':status', '500'],
    ['accept-charset', ''],
    ['accept-encoding', 'gzip, deflate'],
    ['accept-language', ''],
    ['accept-ranges', ''],
    ['accept', ''],
    ['access-control-allow-origin', ''],
    ['age', ''],
    ['allow', ''],
    ['authorization', ''],
    ['cache-control', ''],
    ['content-disposition', ''],
    ['content-encoding', ''],
    ['content-language', ''],
    ['content-length', ''],
    ['content-location', ''],
    ['content-range', ''],
    ['content-type', ''],
    ['cookie', ''],
    ['date', ''],
    ['etag', ''],
    ['expect', ''],
    ['expires', ''],
    ['from', ''],
    ['host', ''],
    ['if-match', ''],
    ['if-modified-since', ''],
    ['if-none-match', ''],
    ['if-range', ''],
    ['if-unmodified-since', ''],
    ['last-modified', ''],
    ['link', ''],
    ['location', ''],
    ['max-forwards', ''],
    ['proxy-authenticate', ''],
    ['proxy-authorization', ''],
    ['range', ''],
    ['referer', ''],
    ['refresh', ''],
    ['retry-after', ''],
    ['server', ''],
    ['set-cookie', ''],
    ['strict-transport-security', ''],
    ['transfer-encoding', ''],
    ['user-agent', ''],
    ['vary', ''],
    ['via', ''],
    ['www-authenticate', ''],
  ] as const
).map(([name, value]) => ({ name, value, isValid: true }));

const staticIndexes = new Map(
  STATIC.map(({ name, value }, i) => [`${name}\0${value}`, i + 1] as const),
);
const staticNames = new Map(STATIC.map(({ name }, i) => [name, i + 1] as const));

/** SETTINGS_HEADER_TABLE_SIZE that no side has changed. */
export const TABLE_BYTES_MAX = 4_096;
const ENTRY_OVERHEAD_BYTES = 32;

/** Size of a field in a table, and in the list of a request (§4.1; RFC 9113 §6.5.2). */
export function fieldBytes({ name, value }: NameAndValue): number {
  return name.length + value.length + ENTRY_OVERHEAD_BYTES;
}

/** 0: not in the static table. */
export function staticIndexOf({ name, value }: NameAndValue): number {
  return staticIndexes.get(`${name}\0${value}`) ?? 0;
}

/** An entry of the static table with this name; 0: none. */
export function staticNameIndexOf(name: string): number {
  return staticNames.get(name) ?? 0;
}

export class HpackTable {
  /** Oldest first. Invariant: its fields have `#bytes` together, at most `#bytesMax`. */
  readonly #dynamic: Field[] = [];
  #bytes = 0;
  #bytesMax = TABLE_BYTES_MAX;

  /** @throws Http2Error for an index without an entry */
  get(index: number): Field {
    const field =
      index <= STATIC.length
        ? STATIC[index - 1]
        : this.#dynamic[this.#dynamic.length - (index - STATIC.length)];
    if (field === undefined)
      throw new Http2Error(ERROR.compression, `no header has index ${index}`);
    return field;
  }

  /** A field that is larger than the table empties it (§4.4). */
  add(field: Field): void {
    this.#dynamic.push(field);
    this.#bytes += fieldBytes(field);
    this.#evict();
  }

  /** @throws Http2Error for more than the decoder has allowed */
  resize(bytesMax: number): void {
    if (bytesMax > TABLE_BYTES_MAX) {
      throw new Http2Error(ERROR.compression, `a header table of ${bytesMax} bytes`);
    }
    this.#bytesMax = bytesMax;
    this.#evict();
  }

  get bytes(): number {
    return this.#bytes;
  }

  #evict(): void {
    while (this.#bytes > this.#bytesMax) this.#bytes -= fieldBytes(this.#dynamic.shift()!);
  }
}

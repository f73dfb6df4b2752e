/**
 * How the parts of an unending response body are delimited. With HTTP/1.1 each part is one chunk
 * (RFC 9112 §7.1), so that a client library hands it on at once and can tell the end of the stream
 * from a lost connection. HTTP/1.0 has no chunks: the body ends with the connection.
 */
export interface BodyFraming {
  readonly isChunked: boolean;
  /** Text before a part of `byteLength` bytes. */
  before(byteLength: number): string;
  /** Text after each part. */
  readonly after: string;
  /** Text after the last part. */
  readonly end: string;
}

export const CHUNKED: BodyFraming = {
  isChunked: true,
  before: (byteLength) => `${byteLength.toString(16)}\r\n`,
  after: '\r\n',
  end: '0\r\n\r\n',
};

export const UNTIL_CLOSE: BodyFraming = {
  isChunked: false,
  before: () => '',
  after: '',
  end: '',
};

/** Encodes one part; an empty text is no part, because an empty chunk would end the body. */
export function framePart(framing: BodyFraming, text: string): Buffer {
  return Buffer.from(frameText(framing, text));
}

/** Encodes the last part and the end of the body; undefined if that is nothing. */
export function frameLastPart(framing: BodyFraming, text: string): Buffer | undefined {
  const bytes = Buffer.from(`${frameText(framing, text)}${framing.end}`);
  return bytes.length === 0 ? undefined : bytes;
}

/** Returns the number of bytes in an encoded part, without its framing. */
export function partBytes({ isChunked }: BodyFraming, encoded: Buffer): number {
  if (!isChunked) return encoded.length;
  return Number.parseInt(encoded.toString('latin1', 0, encoded.indexOf('\r')), 16);
}

export function frameText({ before, after }: BodyFraming, text: string): string {
  return text === '' ? '' : `${before(Buffer.byteLength(text))}${text}${after}`;
}

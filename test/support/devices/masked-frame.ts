/** Well-formed WebSocket frames of a client (RFC 6455 §5.2). */
export interface Frame {
  readonly opcode: number;
  readonly payload: Buffer;
  /** Default: true. */
  readonly isFinal?: boolean;
}

const MASK = Buffer.from('a1b2c3d4', 'hex');

export function maskedFrame({ opcode, payload, isFinal = true }: Frame): Buffer {
  const { length } = payload;
  const header =
    length < 126
      ? Buffer.of(0x80 | length)
      : length < 65_536
        ? Buffer.of(0xfe, length >> 8, length & 0xff)
        : Buffer.concat([Buffer.of(0xff), longLength(length)]);
  const masked = payload.map((byte, i) => byte ^ MASK[i % 4]!);
  return Buffer.concat([Buffer.of((isFinal ? 0x80 : 0) | opcode), header, MASK, masked]);
}

function longLength(length: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(length));
  return bytes;
}

/** Builds MQTT packets from hex and from their fields. */

/** Parses hex with blanks, such as `10 0c 0004 4d515454`. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
}

/** Encodes a UTF-8 string or binary data as a field (MQTT 5 §1.5.4, §1.5.6). */
export function field(content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

/** Encodes a variable byte integer (MQTT 5 §1.5.5). */
export function variable(value: number): Buffer {
  const bytes: number[] = [];
  do {
    const rest = Math.floor(value / 128);
    bytes.push((value % 128) + (rest > 0 ? 0x80 : 0));
    value = rest;
  } while (value > 0);
  return Buffer.from(bytes);
}

export function packet(first: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([first]), variable(body.length), body]);
}

interface ConnectParts {
  readonly version?: 4 | 5;
  /** Connect flags. Default: 0x02, a clean session. */
  readonly flags?: number;
  readonly keepAliveSeconds?: number;
  /** Hex, without the property length. */
  readonly properties?: string;
  readonly clientId?: string | Buffer;
  /** Bytes after the clientId. */
  readonly rest?: Buffer;
}

export function connect(parts: ConnectParts = {}): Buffer {
  const { version = 4, flags = 0x02, keepAliveSeconds = 0, clientId = 'a' } = parts;
  const properties = hex(parts.properties ?? '');
  return packet(
    0x10,
    field('MQTT'),
    Buffer.from([version, flags, keepAliveSeconds >> 8, keepAliveSeconds & 0xff]),
    ...(version === 5 ? [variable(properties.length), properties] : []),
    field(clientId),
    parts.rest ?? Buffer.alloc(0),
  );
}

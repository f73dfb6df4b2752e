/**
 * The fields that MQTT packets are made of (MQTT 5 §1.5), read strictly and within bounds. A reader
 * remembers the first thing that was wrong and then reads only zeros and empty strings, so that a
 * packet is read from top to bottom as the standard lists it, and looked at once in the end.
 */
import { isUtf8 } from 'node:buffer';
import { MQTT_REASON, type MqttFault, malformed, protocolError } from './rejection.js';

/** Where one packet lies. */
export interface MqttFrame {
  /** Of its variable header. */
  readonly start: number;
  /** Of the next packet. */
  readonly end: number;
}

const LENGTH_BYTES_MAX = 4;

/**
 * Reads the length of the packet that begins at `at`, and nothing that lies behind it: a packet that
 * announces too much is rejected before it has come.
 * @param packetBytesMax of the whole packet (§3.1.2.11.4)
 * @returns 'more' while the header or the packet is not complete
 */
export function frameMqtt(
  bytes: Buffer,
  at: number,
  packetBytesMax: number,
): MqttFrame | MqttFault | 'more' {
  let remaining = 0;
  for (let i = 0; i < LENGTH_BYTES_MAX; i++) {
    const byte = bytes[at + 1 + i];
    if (byte === undefined) return 'more';
    remaining += (byte & 0x7f) * 2 ** (7 * i);
    if (byte >= 0x80) continue;
    if (byte === 0 && i > 0) return malformed('the remaining length is padded [MQTT-1.5.5-1]');
    const start = at + 2 + i;
    const end = start + remaining;
    if (end - at > packetBytesMax) {
      const message = `the packet is over ${packetBytesMax} bytes`;
      return { code: 'HEAD_TOO_LARGE', message, reason: MQTT_REASON.packetTooLarge };
    }
    return end > bytes.length ? 'more' : { start, end };
  }
  return malformed('the remaining length has more than 4 bytes (§1.5.5)');
}

export class MqttFields {
  #at: number;
  readonly #end: number;
  #fault: MqttFault | undefined;

  constructor(
    readonly bytes: Buffer,
    { start, end }: MqttFrame,
  ) {
    this.#at = start;
    this.#end = end;
  }

  /** The first thing that was wrong. */
  get fault(): MqttFault | undefined {
    return this.#fault;
  }

  get left(): number {
    return this.#end - this.#at;
  }

  fail(fault: MqttFault): void {
    this.#fault ??= fault;
    this.#at = this.#end;
  }

  byte(): number {
    return this.#take(1) ? this.bytes[this.#at - 1]! : 0;
  }

  /** §1.5.2 */
  uint16(): number {
    return this.#take(2) ? this.bytes.readUInt16BE(this.#at - 2) : 0;
  }

  /** §1.5.3 */
  uint32(): number {
    return this.#take(4) ? this.bytes.readUInt32BE(this.#at - 4) : 0;
  }

  /** §1.5.5 */
  variableInt(): number {
    let value = 0;
    for (let i = 0; i < LENGTH_BYTES_MAX; i++) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte >= 0x80) continue;
      if (byte === 0 && i > 0) this.fail(malformed('an integer is padded [MQTT-1.5.5-1]'));
      return value;
    }
    this.fail(malformed('an integer has more than 4 bytes (§1.5.5)'));
    return 0;
  }

  /** §1.5.6. The bytes are those of the packet, not a copy. */
  binary(): Buffer {
    const length = this.uint16();
    return this.#take(length)
      ? this.bytes.subarray(this.#at - length, this.#at)
      : this.bytes.subarray(0, 0);
  }

  /** §1.5.4. A byte order mark stays what it is [MQTT-1.5.4-3]. */
  string(): string {
    const bytes = this.binary();
    if (!isUtf8(bytes)) this.fail(malformed('a string is not UTF-8 [MQTT-1.5.4-1]'));
    if (bytes.includes(0)) this.fail(malformed('a string contains U+0000 [MQTT-1.5.4-2]'));
    return this.#fault === undefined ? bytes.toString() : '';
  }

  /** [MQTT-2.2.1-3] */
  packetId(): number {
    const id = this.uint16();
    if (id === 0) this.fail(protocolError('a packet identifier is 0 [MQTT-2.2.1-3]'));
    return id;
  }

  /** What follows the last field is nobody's. */
  finish(): void {
    if (this.left > 0) this.fail(malformed('bytes are left over in a packet'));
  }

  #take(length: number): boolean {
    if (this.left < length) {
      this.fail(malformed('a packet ends within a field'));
      return false;
    }
    this.#at += length;
    return true;
  }
}

/**
 * Strict reader for the fields of MQTT packets (MQTT 5 §1.5). It keeps the first fault, and then
 * returns only zeros and empty strings, so that callers read a packet in the order of the standard
 * and check for a fault once at the end.
 */
import { isUtf8 } from 'node:buffer';
import { MQTT_REASON, type MqttFault, malformed, protocolError } from './rejection.js';

/** Offsets of one packet. */
export interface MqttFrame {
  /** Start of its variable header. */
  readonly start: number;
  /** Start of the next packet. */
  readonly end: number;
}

const LENGTH_BYTES_MAX = 4;

/**
 * Reads the length of the packet at offset `at`. A packet that is too long is rejected by its
 * header, before the rest is received.
 * @param packetBytesMax maximum size of the whole packet (§3.1.2.11.4)
 * @returns 'more' while the header or the packet is incomplete
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
      const message = `the packet is ${end - at} bytes; the maximum is ${packetBytesMax}`;
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

  /** The first fault. */
  get fault(): MqttFault | undefined {
    return this.#fault;
  }

  get remaining(): number {
    return this.#end - this.#at;
  }

  fail(fault: MqttFault): void {
    this.#fault ??= fault;
    this.#at = this.#end;
  }

  byte(): number {
    return this.#advance(1) ? this.bytes[this.#at - 1]! : 0;
  }

  /** §1.5.2 */
  uint16(): number {
    return this.#advance(2) ? this.bytes.readUInt16BE(this.#at - 2) : 0;
  }

  /** §1.5.3 */
  uint32(): number {
    return this.#advance(4) ? this.bytes.readUInt32BE(this.#at - 4) : 0;
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

  /** §1.5.6. Returns a view of the packet, not a copy. */
  binary(): Buffer {
    const length = this.uint16();
    return this.#advance(length)
      ? this.bytes.subarray(this.#at - length, this.#at)
      : this.bytes.subarray(0, 0);
  }

  /** §1.5.4. A byte order mark is kept [MQTT-1.5.4-3]. */
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

  /** Fails if bytes follow the last field. */
  finish(): void {
    if (this.remaining > 0) this.fail(malformed('the packet has bytes after its last field'));
  }

  #advance(length: number): boolean {
    if (this.remaining < length) {
      this.fail(malformed('a packet ends within a field'));
      return false;
    }
    this.#at += length;
    return true;
  }
}

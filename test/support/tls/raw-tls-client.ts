/**
 * A TLS 1.3 client whose handshake is Node's and whose records after it are the test's: it can send
 * what no library sends. Keys by RFC 8446 §7.
 */
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectPlainly, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect } from 'node:tls';

export const ALERT = 21;
export const HANDSHAKE = 22;
export const DATA = 23;
const HEADER_BYTES = 5;
const TAG_BYTES = 16;
const IV_BYTES = 12;

interface Suite {
  readonly hash: string;
  readonly secretBytes: number;
  readonly cipher: 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305';
  readonly keyBytes: number;
}

export const SUITES: Record<string, Suite> = {
  TLS_AES_128_GCM_SHA256: {
    hash: 'sha256',
    secretBytes: 32,
    cipher: 'aes-128-gcm',
    keyBytes: 16,
  },
  TLS_AES_256_GCM_SHA384: {
    hash: 'sha384',
    secretBytes: 48,
    cipher: 'aes-256-gcm',
    keyBytes: 32,
  },
  TLS_CHACHA20_POLY1305_SHA256: {
    hash: 'sha256',
    secretBytes: 32,
    cipher: 'chacha20-poly1305',
    keyBytes: 32,
  },
};

/** HKDF-Expand-Label for results not longer than a hash. */
function expandLabel({ hash }: Suite, secret: Buffer, label: string, length: number): Buffer {
  const text = Buffer.from(`tls13 ${label}`);
  const info = Buffer.from([0, length, text.length, ...text, 0, 1]);
  return createHmac(hash, secret).update(info).digest().subarray(0, length);
}

/** Keys of one direction. */
class Keys {
  #sequence = 0;

  constructor(
    readonly suite: Suite,
    private secret: Buffer,
  ) {}

  /** Passes over a record that was opened elsewhere. */
  skip(): void {
    this.#sequence++;
  }

  update(): void {
    this.secret = expandLabel(this.suite, this.secret, 'traffic upd', this.suite.secretBytes);
    this.#sequence = 0;
  }

  seal(type: number, content: Buffer, padding: number): Buffer {
    const inner = Buffer.concat([content, Buffer.from([type]), Buffer.alloc(padding)]);
    const header = Buffer.from([DATA, 3, 3, 0, 0]);
    header.writeUInt16BE(inner.length + TAG_BYTES, 3);
    const options = { authTagLength: TAG_BYTES } as const;
    const name = this.suite.cipher as 'aes-128-gcm';
    const cipher = createCipheriv(name, this.#key(), this.#nonce(), options);
    cipher.setAAD(header);
    return Buffer.concat([header, cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
  }

  open(record: Buffer): { type: number; content: Buffer } {
    const options = { authTagLength: TAG_BYTES } as const;
    const name = this.suite.cipher as 'aes-128-gcm';
    const cipher = createDecipheriv(name, this.#key(), this.#nonce(), options);
    cipher.setAAD(record.subarray(0, HEADER_BYTES));
    cipher.setAuthTag(record.subarray(-TAG_BYTES));
    const sealed = record.subarray(HEADER_BYTES, -TAG_BYTES);
    const inner = Buffer.concat([cipher.update(sealed), cipher.final()]);
    return { type: inner.at(-1)!, content: inner.subarray(0, -1) };
  }

  #key(): Buffer {
    return expandLabel(this.suite, this.secret, 'key', this.suite.keyBytes);
  }

  #nonce(): Buffer {
    const nonce = expandLabel(this.suite, this.secret, 'iv', IV_BYTES);
    const sequence = Buffer.alloc(IV_BYTES);
    sequence.writeUInt32BE(this.#sequence++, IV_BYTES - 4);
    return Buffer.from(nonce.map((byte, i) => byte ^ sequence[i]!));
  }
}

export interface ReceivedRecord {
  readonly type: number;
  readonly content: Buffer;
}

export class RawTlsClient {
  /** All records after the handshake but session tickets. */
  readonly received: ReceivedRecord[] = [];
  hasEnded = false;
  isClosed = false;
  #bytes = Buffer.alloc(0);

  private constructor(
    readonly socket: Socket,
    private readonly writing: Keys,
    private readonly reading: Keys,
  ) {
    socket.on('error', () => {});
    socket.on('data', (bytes) => this.#onBytes(bytes));
    socket.on('end', () => {
      this.hasEnded = true;
    });
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  static async open(port: number, suiteName = 'TLS_AES_128_GCM_SHA256'): Promise<RawTlsClient> {
    const socket = connectPlainly({ port, host: '127.0.0.1', allowHalfOpen: true });
    await once(socket, 'connect');
    const secrets = new Map<string, Buffer>();
    // The library sees the bytes of the handshake only.
    const between = new Duplex({
      read() {},
      write(bytes, _encoding, done) {
        socket.write(bytes, () => done());
      },
    });
    const pass = (bytes: Buffer) => between.push(bytes);
    socket.on('data', pass);
    const tls = connect({ socket: between, rejectUnauthorized: false, ciphers: suiteName });
    tls.on('keylog', (line: Buffer) => {
      const [label, , secret] = line.toString().trim().split(' ');
      secrets.set(label!, Buffer.from(secret!, 'hex'));
    });
    await once(tls, 'secureConnect');
    const suite = SUITES[tls.getCipher().name]!;
    const keysOf = (label: string) => new Keys(suite, secrets.get(`${label}_TRAFFIC_SECRET_0`)!);
    // The ticket is the library's: what follows is ours.
    await once(tls, 'session');
    const reading = keysOf('SERVER');
    socket.off('data', pass);
    const client = new RawTlsClient(socket, keysOf('CLIENT'), reading);
    reading.skip();
    return client;
  }

  /** The bytes of a record, without sending it. */
  seal(type: number, content: Buffer | string, padding = 0): Buffer {
    return this.writing.seal(type, Buffer.from(content), padding);
  }

  send(type: number, content: Buffer | string, padding = 0): void {
    this.socket.write(this.seal(type, content, padding));
  }

  updateWriteKeys(): void {
    this.writing.update();
  }

  /** Text of all data that was received. */
  get text(): string {
    const data = this.received.filter(({ type }) => type === DATA);
    return data.map(({ content }) => content.toString()).join('');
  }

  /** Descriptions of the alerts that were received. */
  get alerts(): number[] {
    return this.received.filter(({ type }) => type === ALERT).map(({ content }) => content[1]!);
  }

  close(): void {
    this.socket.destroy();
  }

  #onBytes(bytes: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    while (this.#bytes.length >= HEADER_BYTES) {
      const length = HEADER_BYTES + this.#bytes.readUInt16BE(3);
      if (this.#bytes.length < length) return;
      const record = this.reading.open(this.#bytes.subarray(0, length));
      this.#bytes = this.#bytes.subarray(length);
      this.received.push(record);
      if (record.type === HANDSHAKE) this.reading.update();
    }
  }
}

/**
 * A TLS 1.2 client whose handshake is Node's and whose records after it are the test's, with AES in
 * CBC mode and encrypt-then-MAC (RFC 5246 §6.2.3.2, RFC 7366), whose records are the longest.
 */
import { createCipheriv, createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectPlainly, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect } from 'node:tls';

const CIPHER = 'ECDHE-ECDSA-AES128-SHA256';
const VERSION = [3, 3];
const HANDSHAKE = 22;
const HEADER_BYTES = 5;
const MAC_BYTES = 32;
const KEY_BYTES = 16;
const BLOCK_BYTES = 16;
/** In a ServerHello: after the headers of the record and of the message, and the version. */
const RANDOM_AT = HEADER_BYTES + 4 + 2;
const RANDOM_BYTES = 32;

export class RawTls12Client {
  /** The Finished was the first. */
  #sequence = 1n;

  private constructor(
    readonly socket: Socket,
    private readonly macKey: Buffer,
    private readonly key: Buffer,
  ) {}

  static async open(port: number): Promise<RawTls12Client> {
    const socket = connectPlainly({ port, host: '127.0.0.1' });
    socket.on('error', () => {});
    await once(socket, 'connect');
    const between = new Duplex({
      read() {},
      write(bytes, _encoding, done) {
        socket.write(bytes, () => done());
      },
    });
    let serverRandom: Buffer | undefined;
    socket.on('data', (bytes) => {
      if (bytes[0] === HANDSHAKE) {
        serverRandom ??= Buffer.from(bytes.subarray(RANDOM_AT, RANDOM_AT + RANDOM_BYTES));
      }
      between.push(bytes);
    });
    const options = { rejectUnauthorized: false, maxVersion: 'TLSv1.2', ciphers: CIPHER } as const;
    const tls = connect({ socket: between, ...options });
    tls.on('error', () => {});
    const [line] = (await once(tls, 'keylog')) as [Buffer];
    await once(tls, 'secureConnect');
    const [, clientRandom, master] = line.toString().trim().split(' ');
    const seed = Buffer.concat([serverRandom!, Buffer.from(clientRandom!, 'hex')]);
    const keys = expand(Buffer.from(master!, 'hex'), 'key expansion', seed);
    const keyAt = 2 * MAC_BYTES;
    return new RawTls12Client(
      socket,
      keys.subarray(0, MAC_BYTES),
      keys.subarray(keyAt, keyAt + KEY_BYTES),
    );
  }

  /** @param padding blocks of padding, of 1 to 16 */
  seal(type: number, content: Buffer, padding: number): Buffer {
    const rest = BLOCK_BYTES - (content.length % BLOCK_BYTES);
    const paddingBytes = rest + BLOCK_BYTES * (padding - 1);
    const iv = randomBytes(BLOCK_BYTES);
    const cipher = createCipheriv('aes-128-cbc', this.key, iv).setAutoPadding(false);
    const plaintext = Buffer.concat([content, Buffer.alloc(paddingBytes, paddingBytes - 1)]);
    const ciphertext = Buffer.concat([iv, cipher.update(plaintext), cipher.final()]);
    const sequence = Buffer.alloc(8);
    sequence.writeBigUInt64BE(this.#sequence++);
    const headerOf = (length: number) => {
      const header = Buffer.from([type, ...VERSION, 0, 0]);
      header.writeUInt16BE(length, 3);
      return header;
    };
    const mac = createHmac('sha256', this.macKey)
      .update(Buffer.concat([sequence, headerOf(ciphertext.length), ciphertext]))
      .digest();
    return Buffer.concat([headerOf(ciphertext.length + mac.length), ciphertext, mac]);
  }
}

/** P_SHA256 (RFC 5246 §5), as many bytes as the keys take. */
function expand(secret: Buffer, label: string, seed: Buffer): Buffer {
  const hmac = (bytes: Buffer) => createHmac('sha256', secret).update(bytes).digest();
  const labelled = Buffer.concat([Buffer.from(label), seed]);
  const blocks: Buffer[] = [];
  let a = labelled;
  while (blocks.length * MAC_BYTES < 2 * (MAC_BYTES + KEY_BYTES)) {
    a = hmac(a);
    blocks.push(hmac(Buffer.concat([a, labelled])));
  }
  return Buffer.concat(blocks);
}

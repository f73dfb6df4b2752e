/**
 * Handshakes of the native transport that no honest client makes. `fuzz-tls.cc` tests the bounds on
 * their number, without a clock.
 */
import { once } from 'node:events';
import { connect as connectPlainly, type Socket } from 'node:net';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import {
  NativeTransport,
  nativeUnavailableReason,
} from '../../../common/transport/native-transport.js';
import { TlsIdentity } from '../../../common/transport/tls-identity.js';
import type { TransportEvents } from '../../../common/transport/transport.js';
import { Authority } from '../../support/certificates.js';
import { eventually } from '../../support/eventually.js';

/** As in common/transport/native/tls.cc. */
const MESSAGE_BYTES_MAX = 2 ** 14;
const CLIENT_HELLO = 1;

const withNative = nativeUnavailableReason() === undefined ? describe : describe.skip;

withNative('handshakes of the native transport', () => {
  const own = new Authority().issue('own');
  let identity: TlsIdentity;
  let transport: NativeTransport;
  let port: number;
  let failures: string[];
  const peers: Socket[] = [];

  beforeEach(async () => {
    const current: string[] = [];
    failures = current;
    const events: TransportEvents = {
      onOpen: () => {},
      onBytes: () => {},
      onEnd: (connection) => transport.end(connection),
      onClose: () => {},
      onOverLimit: () => {},
      onTimer: () => {},
    };
    const files = {
      certificates: [own],
      ticketKeys: [],
      minVersion: 'TLSv1.2',
      clients: undefined,
      startsPlain: false,
    } as const;
    const log = pino({ level: 'silent' });
    identity = await TlsIdentity.open(files, (failure) => current.push(failure), log);
    const limits = { connectionsMax: 100, sendBufferBytesMax: 64 * 1024 };
    transport = new NativeTransport(events, limits, identity);
    port = await transport.listen('127.0.0.1', 0);
  });

  afterEach(async () => {
    for (const peer of peers.splice(0)) peer.destroy();
    identity.close();
    await transport.close();
  });

  async function open(): Promise<Socket> {
    const peer = connectPlainly({ host: '127.0.0.1', port, allowHalfOpen: true });
    peer.on('error', () => {});
    peers.push(peer);
    await once(peer, 'connect');
    return peer;
  }

  async function shakeHands(options: ConnectionOptions = {}): Promise<TLSSocket> {
    const peer = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options });
    peer.on('error', () => {});
    peers.push(peer);
    await once(peer, 'secureConnect');
    return peer;
  }

  /** A record of a handshake, of which the message announces a length. */
  function recordOf(content: Buffer, announced: number): Buffer {
    const message = Buffer.concat([Buffer.from([CLIENT_HELLO, 0, 0, 0]), content]);
    message.writeUIntBE(announced, 1, 3);
    const header = Buffer.from([22, 3, 1, 0, 0]);
    header.writeUInt16BE(message.length, 3);
    return Buffer.concat([header, message]);
  }

  test('a silent peer, and one in the midst of its first record, cost next to nothing', async () => {
    for (let i = 0; i < 20; i++) (await open()).write('\x16\x03\x01\x02\x00abc');
    await shakeHands();
    await eventually(() => expect(transport.memory().tls13).toBeGreaterThan(20 * 8));
    expect(transport.memory().tls13).toBeLessThan(1000);
    expect(failures).toEqual([]);
  });

  test('a message that announces too much is rejected before memory is allocated for it', async () => {
    const peer = await open();
    let answer = Buffer.alloc(0);
    peer.on('data', (bytes) => {
      answer = Buffer.concat([answer, bytes]);
    });
    // The header of the message in two records.
    const record = recordOf(Buffer.alloc(10), MESSAGE_BYTES_MAX + 1);
    peer.write(
      Buffer.concat([
        Buffer.from([22, 3, 1, 0, 1, CLIENT_HELLO]),
        Buffer.from([22, 3, 1, 0, 13]),
        record.subarray(6),
      ]),
    );
    await once(peer, 'end');
    expect(answer.toString('hex')).toBe('15030300020232');
    expect(failures).toEqual(['malformed_message']);
  });

  test('a resumed session of TLS 1.3 has a ticket of its own', async () => {
    let session: Buffer | undefined;
    for (const isResumed of [false, true, true]) {
      const peer = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, session });
      peers.push(peer);
      [session] = (await once(peer, 'session')) as [Buffer];
      expect(peer.isSessionReused()).toBe(isResumed);
    }
  });

  test('an attempt to renegotiate ends the connection', async () => {
    const peer = await shakeHands({ maxVersion: 'TLSv1.2' });
    peer.renegotiate({}, () => {});
    await new Promise((resolve) => peer.once('close', resolve));
    expect(failures).toEqual(['unexpected_message']);
  });
});

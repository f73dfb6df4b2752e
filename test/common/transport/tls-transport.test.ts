/** TLS of every transport; `transport.test.ts` checks the contract without TLS. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { connect as connectPlainly } from 'node:net';
import { join } from 'node:path';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { pino } from 'pino';
import { EnvironmentError } from '../../../common/process/lifecycle.js';
import {
  NativeTransport,
  nativeUnavailableReason,
} from '../../../common/transport/native-transport.js';
import { NetTransport } from '../../../common/transport/net-transport.js';
import {
  type CertificateFiles,
  type TlsFiles,
  TlsIdentity,
} from '../../../common/transport/tls-identity.js';
import type {
  Connection,
  Transport,
  TransportEvents,
} from '../../../common/transport/transport.js';
import { Authority, OPENSSL } from '../../support/certificates.js';
import { testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';

const test = testWith(OPENSSL);
const CONNECTIONS_MAX = 5;
const log = pino({ level: 'silent' });

function tlsFiles(certificates: CertificateFiles[], more: Partial<TlsFiles> = {}): TlsFiles {
  const usual = { minVersion: 'TLSv1.2', clients: undefined, startsPlain: false } as const;
  return { certificates, ticketKeys: [], ...usual, ...more };
}

const implementations = [
  ['net', NetTransport] as const,
  ['native', NativeTransport] as const,
].filter(([name]) => name === 'net' || nativeUnavailableReason() === undefined);

describe.each(implementations)('TLS of the %s transport', (_name, Implementation) => {
  const authority = new Authority();
  const first = authority.issue('first', ['DNS:first.example']);
  const second = authority.issue('second', ['DNS:second.example', 'DNS:*.wild.example']);
  let own: CertificateFiles;
  let identity: TlsIdentity;
  let transport: Transport;
  let port: number;
  let record: { failed: string[]; opened: Connection[]; received: string; closed: string[] };
  const peers: { destroy(): void }[] = [];

  beforeEach(async () => {
    record = { failed: [], opened: [], received: '', closed: [] };
    // Connections of an earlier test may still be closing.
    const current = record;
    const events: TransportEvents = {
      onOpen: (connection) => void current.opened.push(connection),
      onBytes: (_, bytes) => {
        current.received += String(bytes);
      },
      onEnd: (connection) => transport.end(connection),
      onClose: (_, cause) => void current.closed.push(cause),
      onOverLimit: () => {},
      onTimer: () => {},
    };
    own = { cert: join(authority.folder, 'own.pem'), key: join(authority.folder, 'own.key') };
    install(first);
    identity = await TlsIdentity.open(
      tlsFiles([own, second]),
      (reason) => current.failed.push(reason),
      log,
    );
    transport = new Implementation(
      events,
      { connectionsMax: CONNECTIONS_MAX, sendBufferBytesMax: 64 * 1024 },
      identity,
    );
    port = await transport.listen('127.0.0.1', 0);
  });

  afterEach(async () => {
    for (const peer of peers.splice(0)) peer.destroy();
    identity.close();
    await transport.close();
  });

  function install(files: CertificateFiles): void {
    copyFileSync(files.cert, own.cert);
    copyFileSync(files.key, own.key);
  }

  function dial(options: ConnectionOptions = {}): TLSSocket {
    const ca = readFileSync(authority.ca);
    const checkServerIdentity = () => undefined;
    const peer = connect({ host: '127.0.0.1', port, ca, checkServerIdentity, ...options });
    peer.on('error', () => {});
    peers.push(peer);
    return peer;
  }

  async function open(options: ConnectionOptions = {}): Promise<TLSSocket> {
    const { length } = record.opened;
    const peer = dial(options);
    await once(peer, 'secureConnect');
    // With TLS 1.3, the client completes the handshake first.
    await eventually(() => record.opened.length > length);
    return peer;
  }

  /** Returns the common name of the certificate for this server name. */
  async function commonNameFor(servername: string): Promise<string> {
    const peer = await open({ servername });
    expect(peer.authorized).toBe(true);
    const name = String(peer.getPeerCertificate().subject.CN);
    peer.destroy();
    return name;
  }

  test('carries bytes both ways, and reports the address of the peer', async () => {
    const peer = await open();
    peer.write('hello');
    await eventually(() => expect(record.received).toBe('hello'));
    expect(transport.write(record.opened[0]!, Buffer.from('world'))).toBe('accepted');
    const [bytes] = await once(peer, 'data');
    expect(String(bytes)).toBe('world');
    expect(transport.remoteAddress(record.opened[0]!)).toBe(`127.0.0.1:${peer.localPort}`);
  });

  test('a connection opens after its handshake', async () => {
    const peer = connectPlainly({ host: '127.0.0.1', port });
    peers.push(peer);
    await once(peer, 'connect');
    await open();
    await eventually(() => expect(record.opened).toHaveLength(1));
  });

  test('closes peers that disconnect or stall during the handshake', async () => {
    const silent = async () => {
      const peer = connectPlainly({ host: '127.0.0.1', port });
      peers.push(peer);
      peer.on('error', () => {});
      await once(peer, 'connect');
      peer.write('\x16\x03');
      return peer;
    };
    for (let i = 0; i < 2; i++) (await silent()).resetAndDestroy();
    const slow = await silent();
    // The rest of a record's header, and the start of a ClientHello of 508 bytes.
    const hello = [...Buffer.from('010200010001fc0303', 'hex')];
    const bytes = setInterval(() => slow.write(Buffer.from([hello.shift() ?? 0])), 1_000);
    for (let i = 1; i < CONNECTIONS_MAX; i++) await silent();
    expect(await canConnect()).toBe(false);
    await eventually(canConnect);
    clearInterval(bytes);
    await eventually(() => {
      const timeouts = record.failed.filter((reason) => reason === 'handshake_timeout');
      expect(timeouts.length).toBeGreaterThanOrEqual(CONNECTIONS_MAX);
    });
  });

  async function canConnect(): Promise<boolean> {
    const peer = dial();
    const isConnected = await new Promise<boolean>((resolve) => {
      peer.once('secureConnect', () => resolve(true));
      peer.once('close', () => resolve(false));
    });
    peer.destroy();
    return isConnected;
  }

  test('closes and counts peers that do not speak TLS', async () => {
    const peer = connectPlainly({ host: '127.0.0.1', port });
    peers.push(peer);
    peer.on('error', () => {});
    peer.resume();
    peer.write('GET /connect?clientId=a HTTP/1.1\r\nHost: x\r\n\r\n');
    await new Promise((resolve) => peer.once('close', resolve));
    await eventually(() => expect(record.failed).toEqual(['not_tls']));
    expect(record.opened).toEqual([]);
    await open();
  });

  test.each(['TLSv1', 'TLSv1.1'] as const)('%s is rejected', async (version) => {
    const only = { minVersion: version, maxVersion: version };
    const peer = dial({ ...only, ciphers: 'DEFAULT:@SECLEVEL=0' });
    await new Promise((resolve) => peer.once('close', resolve));
    await eventually(() => expect(record.failed).toHaveLength(1));
    expect(record.opened).toEqual([]);
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('%s is supported', async (version) => {
    const peer = await open({ minVersion: version, maxVersion: version });
    expect(peer.getProtocol()).toBe(version);
  });

  test('the server name selects the certificate; the first one is the default', async () => {
    expect(await commonNameFor('second.example')).toBe('second');
    expect(await commonNameFor('SECOND.example')).toBe('second');
    expect(await commonNameFor('a.wild.example')).toBe('second');
    expect(await commonNameFor('a.b.wild.example')).toBe('first');
    expect(await commonNameFor('wild.example')).toBe('first');
    expect(await commonNameFor('first.example')).toBe('first');
    expect(await commonNameFor('unknown.example')).toBe('first');
  });

  test.each([
    [['h2', 'http/1.1'], 'http/1.1'],
    [['mqtt'], 'mqtt'],
    [[], false],
  ])('of the protocols %j, %s is chosen', async (ALPNProtocols, chosen) => {
    expect((await open({ ALPNProtocols })).alpnProtocol).toBe(chosen);
  });

  test('a client that speaks only other protocols receives an alert', async () => {
    const [error] = await once(dial({ ALPNProtocols: ['h2'] }), 'error');
    expect(error.message).toContain('no application protocol');
    await eventually(() => expect(record.failed).toEqual(['handshake_failed']));
  });

  test('a new certificate applies to new connections, and open ones stay', async () => {
    const old = await open({ servername: 'first.example' });
    const next = authority.issue('next', ['DNS:next.example']);
    copyFileSync(next.cert, own.cert);
    expect(await commonNameFor('first.example')).toBe('first');
    copyFileSync(next.key, own.key);
    await eventually(async () => expect(await commonNameFor('next.example')).toBe('next'));
    expect(await commonNameFor('unknown.example')).toBe('next');
    expect(await commonNameFor('second.example')).toBe('second');
    old.write('still here');
    await eventually(() => expect(record.received).toBe('still here'));
  });

  test('end delivers all written bytes, and destroy closes at once', async () => {
    const first = await open();
    transport.write(record.opened[0]!, Buffer.from('last words'));
    transport.end(record.opened[0]!);
    const [bytes] = await once(first, 'data');
    expect(String(bytes)).toBe('last words');
    await once(first, 'end');
    const second = await open();
    const gone = new Promise((resolve) => second.once('close', resolve));
    transport.destroy(record.opened[1]!);
    await gone;
    await eventually(() => expect(record.closed).toEqual(['local', 'local']));
  });

  /** A transport of another process, as it were. */
  async function withOther(files: TlsFiles, use: () => Promise<void>): Promise<void> {
    const events: TransportEvents = {
      onOpen: (connection) => void record.opened.push(connection),
      onBytes: () => {},
      onEnd: (connection) => other.end(connection),
      onClose: () => {},
      onOverLimit: () => {},
      onTimer: () => {},
    };
    const otherIdentity = await TlsIdentity.open(files, () => {}, log);
    const limits = { connectionsMax: CONNECTIONS_MAX, sendBufferBytesMax: 64 * 1024 };
    const other: Transport = new Implementation(events, limits, otherIdentity);
    const ownPort = port;
    port = await other.listen('127.0.0.1', 0);
    try {
      await use();
    } finally {
      port = ownPort;
      otherIdentity.close();
      for (const peer of peers.splice(0)) peer.destroy();
      await other.close();
    }
  }

  /** The session of a new connection. */
  async function newSession(options: ConnectionOptions = {}): Promise<Buffer> {
    const sessions: Buffer[] = [];
    const peer = dial(options);
    peer.on('session', (session: Buffer) => sessions.push(session));
    await eventually(() => expect(sessions).not.toEqual([]));
    peer.destroy();
    return sessions.at(-1)!;
  }

  async function isResumed(session: Buffer, options: ConnectionOptions = {}): Promise<boolean> {
    const peer = await open({ ...options, session });
    const isReused = peer.isSessionReused();
    peer.destroy();
    return isReused;
  }

  function ticketKey(name: string): string {
    const path = join(authority.folder, name);
    writeFileSync(path, randomBytes(48));
    return path;
  }

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('a session of %s is resumed', async (version) => {
    const options = { maxVersion: version };
    expect(await isResumed(await newSession(options), options)).toBe(true);
  });

  test('a session is resumed at every transport with the key of its ticket', async () => {
    const [key, next] = [ticketKey('key'), ticketKey('next')];
    let session: Buffer;
    await withOther(tlsFiles([own], { ticketKeys: [key] }), async () => {
      session = await newSession();
      expect(await isResumed(session)).toBe(true);
    });
    await withOther(tlsFiles([own], { ticketKeys: [key, next] }), async () => {
      expect(await isResumed(session)).toBe(true);
    });
    await withOther(tlsFiles([own], { ticketKeys: [next] }), async () => {
      expect(await isResumed(session)).toBe(false);
    });
    expect(await isResumed(session!)).toBe(false);
  });

  test('TLS 1.2 can be rejected', async () => {
    await withOther(tlsFiles([own], { minVersion: 'TLSv1.3' }), async () => {
      const peer = dial({ maxVersion: 'TLSv1.2' });
      await new Promise((resolve) => peer.once('close', resolve));
      expect((await open()).getProtocol()).toBe('TLSv1.3');
    });
  });

  test('carries megabytes both ways', async () => {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const peer = await open({ maxVersion });
      record.received = '';
      const sent = randomBytes(500_000).toString('hex');
      peer.write(sent);
      await eventually(() => expect(record.received.length).toBe(sent.length));
      expect(record.received === sent).toBe(true);
      let received = '';
      peer.on('data', (bytes) => {
        received += bytes;
      });
      const connection = record.opened.at(-1)!;
      expect(transport.write(connection, Buffer.from(sent))).toBe('accepted');
      await eventually(() => expect(received.length).toBe(sent.length));
      expect(received === sent).toBe(true);
      peer.destroy();
    }
  });

  test('the send buffer of a peer that does not read becomes full', async () => {
    const peer = await open();
    peer.pause();
    const bytes = Buffer.alloc(32 * 1024);
    // The buffers of the kernel take some megabytes first.
    await eventually(() => {
      for (let i = 0; i < 32; i++) {
        if (transport.write(record.opened[0]!, bytes) === 'full') return true;
      }
      return false;
    });
    expect(transport.bufferedBytes(record.opened[0]!)).toBeGreaterThan(0);
  });

  test('invalid certificates are an error at start', async () => {
    const mixed = { cert: own.cert, key: authority.issue('other').key };
    await expect(TlsIdentity.open(tlsFiles([mixed]), () => {}, log)).rejects.toThrow(
      EnvironmentError,
    );
    const missing = { cert: '/nowhere/cert.pem', key: own.key };
    await expect(TlsIdentity.open(tlsFiles([missing]), () => {}, log)).rejects.toThrow(
      /\/nowhere\/cert\.pem/,
    );
    const short = join(authority.folder, 'short');
    writeFileSync(short, randomBytes(47));
    const files = tlsFiles([own], { ticketKeys: [short] });
    await expect(TlsIdentity.open(files, () => {}, log)).rejects.toThrow('47 bytes instead of 48');
  });

  test('authorities are valid as a whole, or an error at start', async () => {
    const ca = join(authority.folder, 'authorities.pem');
    const valid = readFileSync(authority.ca, 'utf8');
    const clients = { ca, isRequired: true };
    const openWith = (text: string) => {
      writeFileSync(ca, text);
      return TlsIdentity.open(tlsFiles([own], { clients }), () => {}, log);
    };
    (await openWith(`Text before\n${valid}\n${valid}`)).close();
    await expect(openWith('no certificate')).rejects.toThrow('contains no certificate in PEM');
    const broken = valid.replace(/\n[^-\n]{10}/, '\n');
    const crl = '-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n';
    for (const second of [broken, crl]) {
      await expect(openWith(valid + second)).rejects.toThrow(
        /part 2 of .* is no valid certificate/,
      );
    }
  });
});

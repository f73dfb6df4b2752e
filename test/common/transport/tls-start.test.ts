/**
 * How TLS starts: after bytes without it, with client certificates, and under floods of handshakes.
 */
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, readFileSync } from 'node:fs';
import { connect as connectPlainly, type Socket } from 'node:net';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { afterEach, describe, expect } from '@jest/globals';
import type { CertificateFiles, TlsFiles } from '../../../common/transport/tls-identity.js';
import type { Connection } from '../../../common/transport/transport.js';
import { Authority, OPENSSL } from '../../support/certificates.js';
import { testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import { DATA } from '../../support/tls/raw-tls-client.js';
import { RawTls12Client } from '../../support/tls/raw-tls12-client.js';
import { IMPLEMENTATIONS, TlsServer } from '../../support/tls/tls-server.js';

const test = testWith(OPENSSL);
const HEADER = 'HEADER\n';
const RECORD_BYTES_MAX = 2 ** 14;

describe.each(IMPLEMENTATIONS)('the start of TLS in the %s transport', (name, Implementation) => {
  const authority = new Authority();
  const own = authority.issue('own');
  let server: TlsServer | undefined;
  const peers: { destroy(): void }[] = [];

  afterEach(async () => {
    for (const peer of peers.splice(0)) peer.destroy();
    await server?.stop();
  });

  async function start(files: Partial<TlsFiles>, connectionsMax?: number): Promise<TlsServer> {
    server = await TlsServer.start(
      Implementation,
      { certificates: [own], ...files },
      connectionsMax,
    );
    return server;
  }

  async function connectTcp(): Promise<Socket> {
    const socket = connectPlainly({ host: '127.0.0.1', port: server!.port });
    peers.push(socket);
    socket.on('error', () => {});
    socket.resume();
    await once(socket, 'connect');
    return socket;
  }

  function connectTls(options: ConnectionOptions = {}): TLSSocket {
    const ca = readFileSync(authority.ca);
    const peer = connect({
      host: '127.0.0.1',
      port: server!.port,
      ca,
      servername: 'localhost',
      ...options,
    });
    peers.push(peer);
    peer.on('error', () => {});
    return peer;
  }

  function pair({ cert, key }: CertificateFiles): ConnectionOptions {
    return { cert: readFileSync(cert), key: readFileSync(key) };
  }

  const closed = (socket: Socket) => new Promise((resolve) => socket.once('close', resolve));

  describe('after bytes without it', () => {
    const secured = new Set<Connection>();

    async function startAfterHeader(connectionsMax?: number): Promise<TlsServer> {
      const started = await start({ startsPlain: true }, connectionsMax);
      secured.clear();
      started.onBytes = (connection, bytes) => {
        if (secured.has(connection)) {
          started.received += bytes;
          return;
        }
        secured.add(connection);
        expect(String(bytes.subarray(0, HEADER.length))).toBe(HEADER);
        started.transport.secure(connection, bytes.subarray(HEADER.length));
      };
      return started;
    }

    /** @param isJoined whether the header and the first bytes of the handshake are one write */
    async function openAfterHeader(isJoined: boolean, options: ConnectionOptions = {}) {
      const socket = await connectTcp();
      if (!isJoined) socket.write(HEADER);
      let prefix = isJoined ? HEADER : '';
      const between = new Duplex({
        read() {},
        write(bytes, _encoding, done) {
          socket.write(Buffer.concat([Buffer.from(prefix), bytes]), () => done());
          prefix = '';
        },
        final(done) {
          socket.end(done);
        },
      });
      socket.on('data', (bytes) => between.push(bytes));
      socket.on('end', () => between.push(null));
      const peer = connectTls({ socket: between, ...options });
      await once(peer, 'secureConnect');
      return { peer, socket };
    }

    test.each([
      [true, 'TLSv1.3'],
      [false, 'TLSv1.3'],
      [true, 'TLSv1.2'],
    ] as const)('bytes go both ways (joined: %s, %s)', async (isJoined, maxVersion) => {
      const { opened, transport } = await startAfterHeader();
      const { peer, socket } = await openAfterHeader(isJoined, { maxVersion });
      peer.write('hello');
      await eventually(() => expect(server!.received).toBe('hello'));
      expect(opened).toHaveLength(1);
      expect(transport.write(opened[0]!, Buffer.from('world'))).toBe('accepted');
      expect(String((await once(peer, 'data'))[0])).toBe('world');
      expect(transport.remoteAddress(opened[0]!)).toBe(`127.0.0.1:${socket.localPort}`);
      expect(new Map(transport.tlsConnections()).get(maxVersion.slice(4))).toBe(1);
      transport.end(opened[0]!);
      await once(peer, 'end');
      peer.end();
      await eventually(() => expect(server!.closed).toEqual(['local']));
    });

    test('a failed handshake closes the connection, and is counted', async () => {
      await startAfterHeader();
      const socket = await connectTcp();
      socket.write(`${HEADER}GET / HTTP/1.1\r\n\r\n`);
      await closed(socket);
      await eventually(() => expect(server!.closed).toHaveLength(1));
      expect([server!.failures, server!.opened.length]).toEqual([['not_tls'], 1]);
    });

    test('a peer that disconnects during the handshake is counted', async () => {
      await startAfterHeader();
      const socket = await connectTcp();
      socket.write(`${HEADER}\x16\x03\x01`);
      await eventually(() => expect(secured.size).toBe(1));
      socket.resetAndDestroy();
      await eventually(() => expect(server!.closed).toHaveLength(1));
      expect(server!.failures).toEqual(['handshake_aborted']);
    });

    test('nothing is sent during the handshake, which the user can end', async () => {
      const { opened, transport, closed } = await startAfterHeader();
      const socket = await connectTcp();
      let received = '';
      socket.on('data', (bytes) => {
        received += bytes;
      });
      socket.write(`${HEADER}\x16`);
      await eventually(() => expect(secured.size).toBe(1));
      expect(transport.write(opened[0]!, Buffer.from('x'))).toBe('gone');
      transport.end(opened[0]!);
      await new Promise((resolve) => socket.once('close', resolve));
      await eventually(() => expect(closed).toEqual(['local']));
      expect(received).toBe('');
    });
  });

  describe('client certificates', () => {
    const stranger = new Authority();
    const versions = ['TLSv1.2', 'TLSv1.3'] as const;
    const clients = (isRequired: boolean, ca = authority.ca) => ({ clients: { ca, isRequired } });

    test.each(versions)(
      'are reported with %s, also when the session is resumed',
      async (maxVersion) => {
        const device = pair(authority.issue('device-1'));
        await start(clients(true));
        const first = connectTls({ ...device, maxVersion });
        const sessions: Buffer[] = [];
        first.on('session', (session: Buffer) => sessions.push(session));
        first.write('hello');
        await eventually(() => expect(server!.received).toBe('hello'));
        await eventually(() => expect(sessions).not.toEqual([]));
        const again = connectTls({ ...device, maxVersion, session: sessions.at(-1)! });
        await once(again, 'secureConnect');
        expect(again.isSessionReused()).toBe(true);
        await eventually(() => expect(server!.certificates).toHaveLength(2));
        for (const der of server!.certificates) {
          expect(new X509Certificate(der).subject).toBe('CN=device-1');
        }
      },
    );

    test.each(versions)('with %s, a required one must be valid', async (maxVersion) => {
      await start(clients(true));
      for (const sent of [{}, pair(stranger.issue('device-1'))]) {
        const peer = connectTls({ ...sent, maxVersion });
        await closed(peer);
      }
      await eventually(() =>
        expect(server!.failures).toEqual(['certificate_rejected', 'certificate_rejected']),
      );
      expect(server!.opened).toEqual([]);
    });

    test('an optional one may be missing, but not be invalid', async () => {
      await start(clients(false));
      connectTls().write('anonymous');
      await eventually(() => expect(server!.received).toBe('anonymous'));
      await closed(connectTls(pair(stranger.issue('device-1'))));
      await eventually(() => expect(server!.failures).toEqual(['certificate_rejected']));
      expect([server!.opened.length, server!.certificates]).toEqual([1, []]);
    });

    test('a new authority applies to new connections, also to resumed sessions', async () => {
      const ca = join(authority.folder, `${name}-clients.pem`);
      copyFileSync(authority.ca, ca);
      const device = pair(authority.issue('device-1'));
      await start(clients(true, ca));
      const peer = connectTls(device);
      const sessions: Buffer[] = [];
      peer.on('session', (session: Buffer) => sessions.push(session));
      await eventually(() => expect(sessions).not.toEqual([]));
      copyFileSync(stranger.ca, ca);
      await eventually(async () => {
        const known = connectTls(pair(stranger.issue('device-2')));
        known.write('x');
        await eventually(() => expect(server!.received).toBe('x'), 200);
      });
      await closed(connectTls({ ...device, session: sessions.at(-1)! }));
      await eventually(() => expect(server!.failures.at(-1)).toBe('certificate_rejected'));
    });
  });

  test('half handshakes take no more than the connections that are permitted', async () => {
    const COUNT = 300;
    await start({}, 100);
    const sockets: Socket[] = [];
    for (let i = 0; i < COUNT; i++) {
      const socket = await connectTcp();
      socket.write('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03');
      sockets.push(socket);
    }
    await eventually(() => expect(server!.overLimit).toBe(COUNT - 100));
    for (const socket of sockets) socket.resetAndDestroy();
    await eventually(() => expect(server!.failures).toEqual(Array(100).fill('handshake_aborted')));
    const peer = connectTls();
    peer.write('served');
    await eventually(() => expect(server!.received).toBe('served'));
  });

  test('records of TLS 1.2 may be as long as padding and MAC make them', async () => {
    const { transport } = await start({});
    const client = await RawTls12Client.open(server!.port);
    peers.push(client.socket);
    const data = Buffer.alloc(RECORD_BYTES_MAX, 'x');
    const records = [client.seal(DATA, data, 16), client.seal(DATA, Buffer.from('rest'), 1)];
    expect(records[0]!.length).toBeGreaterThan(5 + RECORD_BYTES_MAX + 256);
    const bytes = Buffer.concat(records);
    // In pieces, so that the server keeps a part of each.
    for (let at = 0; at < bytes.length; at += 5_000) {
      client.socket.write(bytes.subarray(at, at + 5_000));
      await nextTurn();
    }
    await eventually(() => expect(server!.received).toBe(`${data}rest`));
    expect(server!.failures).toEqual([]);
    expect(new Map(transport.tlsConnections()).get('1.2')).toBe(1);
  });

  // Node's server keeps an incomplete record forever.
  if (name === 'net') return;

  test('an incomplete record of TLS 1.2 is kept for 30 s', async () => {
    await start({});
    const socket = await connectTcp();
    let isCut = false;
    const between = new Duplex({
      read() {},
      write(bytes, _encoding, done) {
        socket.write(isCut ? bytes.subarray(0, -1) : bytes, () => done());
      },
    });
    socket.on('data', (bytes) => between.push(bytes));
    const peer = connectTls({ socket: between, maxVersion: 'TLSv1.2' });
    await once(peer, 'secureConnect');
    isCut = true;
    peer.write('incomplete');
    await eventually(() => expect(server!.failures).toEqual(['record_timeout']), 40_000);
  });
});

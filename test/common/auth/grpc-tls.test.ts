import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import {
  type ChannelCredentials,
  credentials,
  type handleUnaryCall,
  makeClientConstructor,
  Server,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals';
import { pino } from 'pino';
import { certificateNames } from '../../../common/auth/certificates.js';
import { linkCredentials, serverCredentials } from '../../../common/auth/grpc-tls.js';
import { bindGrpc } from '../../../common/process/grpc/grpc-server.js';
import { EnvironmentError } from '../../../common/process/lifecycle.js';
import { Authority, type CertificateFiles, OPENSSL } from '../../support/certificates.js';
import { testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';

const test = testWith(OPENSSL);
const log = pino({ level: 'silent' });

const buffer = (value: Buffer) => value;
const SERVICE = {
  names: {
    path: '/test/names',
    requestStream: false,
    responseStream: false,
    requestSerialize: buffer,
    requestDeserialize: buffer,
    responseSerialize: buffer,
    responseDeserialize: buffer,
  },
};

let authority: Authority;
let otherAuthority: Authority;
let server: Server;
let port: number;
/** The certificate files of the server, which tests replace. */
let own: CertificateFiles;

beforeAll(async () => {
  authority = new Authority();
  otherAuthority = new Authority();
  own = { cert: join(authority.folder, 'own.pem'), key: join(authority.folder, 'own.key') };
  install(authority.issue('first'));
  server = new Server();
  const names: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
    const found = certificateNames(call.getAuthContext().sslPeerCertificate);
    callback(null, Buffer.from(found.join(' ')));
  };
  server.addService(SERVICE, { names });
  const clientCa = authority.ca;
  const tls = await serverCredentials({ ...own, clientCa }, log);
  port = await bindGrpc(server, '127.0.0.1', 0, tls);
});
afterAll(() => server.forceShutdown());

const clients: { close(): void }[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

function install(files: CertificateFiles): void {
  copyFileSync(files.cert, own.cert);
  copyFileSync(files.key, own.key);
}

/** Resolves with the names that the server finds in the client certificate. */
function queryNames(channel: ChannelCredentials): Promise<string> {
  const client = new (makeClientConstructor(SERVICE, 'test'))(`localhost:${port}`, channel);
  clients.push(client);
  return new Promise((resolve, reject) => {
    const done = (error: ServiceError | null, answer?: Buffer) =>
      error ? reject(error) : resolve(String(answer));
    client.names!(Buffer.alloc(0), { deadline: Date.now() + 5_000 }, done);
  });
}

/** Resolves with the common name of the server certificate. */
function serverName(): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, servername: 'localhost', ALPNProtocols: ['h2'] };
    const socket: TLSSocket = connect({ ...options, ca: readFileSync(authority.ca) }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

describe('TLS of gRPC', () => {
  test('a client presents its certificate, or none', async () => {
    const { ca } = authority;
    expect(await queryNames(await linkCredentials({ ca, own: undefined }, log))).toBe('');
    const names = ['DNS:edge-1.example', 'URI:spiffe://prod/edge'];
    const link = { ca, own: authority.issue('edge', names) };
    expect(await queryNames(await linkCredentials(link, log))).toBe(
      'edge edge-1.example spiffe://prod/edge',
    );
  });

  test('a certificate of another authority has no names', async () => {
    const link = { ca: authority.ca, own: otherAuthority.issue('edge') };
    expect(await queryNames(await linkCredentials(link, log))).toBe('');
  });

  test('a client trusts neither a server of another authority nor one without TLS', async () => {
    const link = await linkCredentials({ ca: otherAuthority.ca, own: undefined }, log);
    await expect(queryNames(link)).rejects.toMatchObject({ code: status.UNAVAILABLE });
    await expect(queryNames(credentials.createInsecure())).rejects.toMatchObject({
      code: status.UNAVAILABLE,
    });
  });

  test('a server certificate is replaced at run time, once its key matches', async () => {
    const second = authority.issue('second');
    copyFileSync(second.cert, own.cert);
    expect(await serverName()).toBe('first');
    copyFileSync(second.key, own.key);
    await eventually(async () => expect(await serverName()).toBe('second'));
    install(authority.issue('third'));
    await eventually(async () => expect(await serverName()).toBe('third'));
  });

  test('a link presents its new certificate when it reconnects', async () => {
    const files = {
      cert: join(authority.folder, 'link.pem'),
      key: join(authority.folder, 'link.key'),
    };
    const put = (from: CertificateFiles) => {
      copyFileSync(from.cert, files.cert);
      copyFileSync(from.key, files.key);
    };
    put(authority.issue('edge-old', ['DNS:old.example']));
    const link = await linkCredentials({ ca: authority.ca, own: files }, log);
    expect(await queryNames(link)).toBe('edge-old old.example');
    put(authority.issue('edge-new', ['DNS:new.example']));
    await eventually(async () => {
      for (const client of clients.splice(0)) client.close();
      expect(await queryNames(link)).toBe('edge-new new.example');
    });
  });

  test('files that cannot be used fail at start', async () => {
    const mixed = { cert: own.cert, key: authority.issue('x').key, clientCa: undefined };
    await expect(serverCredentials(mixed, log)).rejects.toThrow(EnvironmentError);
    const missing = { ca: '/nowhere/ca.pem', own: undefined };
    await expect(linkCredentials(missing, log)).rejects.toThrow(/cannot use \/nowhere\/ca\.pem/);
  });
});

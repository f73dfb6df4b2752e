/**
 * Goal: keys of TLS 1.3 are only in memory that a core dump leaves out, and in none when their
 * connection is closed.
 * Method: the memory of an edge is searched for the secrets of its clients, which their own library
 * tells.
 */
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { nativeUnavailableReason } from '../../../common/transport/native-transport.js';
import { Authority, OPENSSL } from '../../support/certificates.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import { searchMemory } from '../../support/tls/memory-search.js';

const test = testWith(OPENSSL);
const withNative = nativeUnavailableReason() === undefined ? describe : describe.skip;

const SUITES = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_CHACHA20_POLY1305_SHA256',
  'TLS_AES_256_GCM_SHA384',
] as const;

interface Client {
  readonly socket: TLSSocket;
  /** Traffic secrets, and the keys that are derived from them. */
  readonly secrets: Buffer[];
}

withNative('keys of TLS 1.3 in the memory of an edge', () => {
  let own: RunningCluster | undefined;
  let port = 0;

  beforeAll(async () => {
    const { cert, key } = new Authority().issue('localhost');
    own = await RunningCluster.start({
      edges: 1,
      env: { LONGLINE_EDGE_TLS_CERT_FILE: cert, LONGLINE_EDGE_TLS_KEY_FILE: key },
    });
    port = Number(new URL(own.cluster.edgeUrl('edge-1')).port);
  });
  afterAll(() => own?.stop());

  async function connectClient(clientId: string, ciphers: string): Promise<Client> {
    const secrets: Buffer[] = [];
    const socket = connect({ host: 'localhost', port, rejectUnauthorized: false, ciphers });
    socket.on('keylog', (line: Buffer) => {
      const [label, , hex] = line.toString().trim().split(' ');
      if (!label!.endsWith('_TRAFFIC_SECRET_0')) return;
      const secret = Buffer.from(hex!, 'hex');
      secrets.push(secret, keyOf(secret, ciphers));
    });
    await once(socket, 'secureConnect');
    socket.write(`GET /connect?clientId=${clientId} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    await once(socket, 'data');
    return { socket, secrets };
  }

  test('are in undumped memory, and erased with their connection', async () => {
    const clients: Client[] = [];
    for (const suite of SUITES) clients.push(await connectClient(suite, suite));
    const secrets = clients.flatMap((client) => client.secrets);
    const search = () => searchMemory(own!.cluster.pid('edge-1')!, secrets);
    await eventually(() => expect(search()).toEqual({ dumped: 0, undumped: 4 * SUITES.length }));
    for (const { socket } of clients) socket.end();
    await eventually(() => expect(search()).toEqual({ dumped: 0, undumped: 0 }));
  });
});

/** HKDF-Expand-Label with the label `key` (RFC 8446 §7.3). */
function keyOf(secret: Buffer, suite: string): Buffer {
  const length = suite.includes('AES_128') ? 16 : 32;
  const label = Buffer.from('tls13 key');
  const info = Buffer.from([0, length, label.length, ...label, 0, 1]);
  const hash = suite.endsWith('384') ? 'sha384' : 'sha256';
  return createHmac(hash, secret).update(info).digest().subarray(0, length);
}

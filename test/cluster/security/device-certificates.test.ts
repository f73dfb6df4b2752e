/**
 * Goal: edges and front proxies terminate TLS, also behind a PROXY header, and authenticate devices
 * by client certificates. Method: real processes, HAProxy, and clients that trust one authority.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import WebSocket from 'ws';
import { freePort } from '../../../cli/local/ports.js';
import { OPENSSL } from '../../support/certificates.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { HAPROXY, testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';
import { type ClientPair, useTls } from '../../support/tls/tls-fixture.js';
import { SECRET, tokenOf } from '../../support/tokens.js';

const test = testWith(OPENSSL);
const BACKEND_TOKEN = 'backend-token-0123456789';

const tls = useTls();
/**
 * A cluster whose edge and front terminate TLS, also behind a PROXY header, and know certificates.
 */
let own: RunningCluster | undefined;

function pairOf(clientId: string): ClientPair {
  const { cert, key } = tls.authority.issue(clientId);
  return { cert: readFileSync(cert), key: readFileSync(key) };
}

describe('TLS in the edge and in the front', () => {
  let edgePort = 0;
  let frontPort = 0;

  beforeAll(async () => {
    const settingsOf = (prefix: string) => ({
      [`${prefix}_CERT_FILE`]: tls.files.cert,
      [`${prefix}_KEY_FILE`]: tls.files.key,
      [`${prefix}_CLIENT_CA_FILE`]: tls.authority.ca,
      [`${prefix}_CLIENT_CERTIFICATES`]: 'optional',
    });
    own = await RunningCluster.start({
      edges: 1,
      token: BACKEND_TOKEN,
      env: {
        ...settingsOf('LONGLINE_EDGE_TLS'),
        ...settingsOf('LONGLINE_ROUTER_FRONT_TLS'),
        LONGLINE_PROXY_NETWORKS: '127.0.0.1/32',
        LONGLINE_SHARD_COUNT: '64',
        LONGLINE_AUTH: 'jwt',
        LONGLINE_JWT_ALGORITHMS: 'HS256',
        LONGLINE_JWT_KEYS: SECRET,
        LONGLINE_TICKET_SECRET: SECRET.toUpperCase(),
        LONGLINE_LINK_TOKEN: SECRET,
        LONGLINE_BACKEND_TOKENS: `ops:push+presence:${BACKEND_TOKEN}`,
      },
    });
    edgePort = Number(new URL(own.cluster.edgeUrl('edge-1')).port);
    frontPort = Number(new URL(own.cluster.frontUrl()).port);
    for (const port of [edgePort, frontPort]) tls.clusters.set(port, own);
  });
  afterAll(() => own?.stop());

  const portOf = (place: string) => (place === 'edge' ? edgePort : frontPort);

  /** Status and error code of a connect request that is rejected. */
  async function rejectionAt(port: number, clientId: string, pair: Partial<ClientPair>) {
    const path = `/connect?clientId=${clientId}`;
    const call = request({ host: 'localhost', port, ca: tls.ca, path, agent: false, ...pair });
    call.end();
    const [response] = (await once(call, 'response')) as [IncomingMessage];
    const { error } = JSON.parse(await text(response));
    return [response.statusCode, error.code];
  }

  test.each(['edge', 'front'])('every protocol is served at the %s, by certificate', async (at) => {
    await tls.receiveOverSse(portOf(at), 'alice', 'over TLS', pairOf('alice'));
    await tls.receiveOverWebSocket(portOf(at), 'bob', pairOf('bob'));
    await tls.receiveOverMqtt(portOf(at), 'carol', pairOf('carol'));
  });

  test.each(['edge', 'front'])('the certificate must be of the clientId at the %s', async (at) => {
    expect(await rejectionAt(portOf(at), 'alice', pairOf('bob'))).toEqual([
      403,
      'PERMISSION_DENIED',
    ]);
    expect(await rejectionAt(portOf(at), 'alice', {})).toEqual([401, 'UNAUTHENTICATED']);
    const names = pairOf('alice/CN=bob');
    expect(await rejectionAt(portOf(at), 'alice', names)).toEqual([401, 'UNAUTHENTICATED']);
  });

  test('a device without a certificate needs a token, and is redirected to https', async () => {
    const token = tokenOf('dave');
    const headers = { accept: 'application/json', authorization: `Bearer ${token}` };
    const { body } = await httpRequest(own!.connectUrl('dave'), { headers });
    expect(JSON.parse(body).url).toMatch(/^https:\/\/localhost:\d+\/connect\?/);
    const device = await SseClient.open(JSON.parse(body).url);
    await own!.push.push('dave', 'by token');
    await device.until(1);
    device.close();
  });

  test('connections are counted by version of TLS', async () => {
    const socket = new WebSocket(`wss://localhost:${edgePort}/connect?clientId=erin`, {
      ...pairOf('erin'),
      ca: tls.ca,
      maxVersion: 'TLSv1.2',
    });
    await once(socket, 'open');
    const count = await own!.metric('edge-1', 'longline_edge_tls_connections', { version: '1.2' });
    expect(count).toBe(1);
    socket.terminate();
  });

  testWith(HAPROXY)('a balancer that passes TCP on states the address of the client', async () => {
    const port = await freePort();
    tls.clusters.set(port, own!);
    await tls.startHaProxy(port, {
      ':8443 ssl crt /etc/haproxy/push.pem': `127.0.0.1:${port}`,
      '127.0.0.1:7000': `127.0.0.1:${edgePort}`,
    });
    await tls.receiveOverMqtt(port, 'frank', pairOf('frank'));
    await tls.expectOwnAddress(port, 'grace', pairOf('grace'));
  });

  /** A PROXY header for a client at 192.0.2.7. */
  function headerOf(version: number): Buffer {
    if (version === 1) return Buffer.from('PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\r\n');
    const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
    const addresses = Buffer.from('c0000207c000020115b301bb', 'hex');
    return Buffer.concat([signature, Buffer.from([0x21, 0x11, 0, addresses.length]), addresses]);
  }

  test.each([
    ['edge', 1],
    ['edge', 2],
    ['front', 1],
    ['front', 2],
  ])('a PROXY header may come before TLS at the %s, version %d', async (at, version) => {
    const clientId = `heidi-${at}-${version}`;
    const socket = connect({ host: 'localhost', port: portOf(at) });
    socket.write(headerOf(version));
    const secured = connectTls({
      socket,
      servername: 'localhost',
      ca: tls.ca,
      ...pairOf(clientId),
    });
    secured.write(`GET /connect?clientId=${clientId} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    const [bytes] = await once(secured, 'data');
    expect(String(bytes)).toContain('200 OK');
    const { connections } = await own!.push.presence(clientId);
    expect(connections[0]!.remoteAddress).toBe('192.0.2.7:5555');
    socket.destroy();
  });

  test('plain HTTP on a port with TLS, and TLS on one without, get one clear answer', async () => {
    for (const port of [edgePort, frontPort]) {
      const response = await httpRequest(`http://localhost:${port}/connect?clientId=a`);
      expect([response.status, response.body]).toEqual([400, expect.stringContaining('TLS')]);
    }
    const places = [
      [tls.proxied.cluster.edgeUrl('edge-1'), 'edge-1', 'longline_edge_requests_rejected_total'],
      [tls.proxied.cluster.frontUrl(), 'router', 'longline_router_front_rejected_total'],
    ] as const;
    for (const [url, role, metric] of places) {
      const call = request({ host: 'localhost', port: new URL(url).port, ca: tls.ca });
      call.end();
      const [error] = await once(call, 'error');
      expect(error.message).toContain('alert handshake failure');
      await eventually(async () => {
        expect(await tls.proxied.metric(role, metric, { code: 'TLS_NOT_ENABLED' })).toBe(1);
      });
    }
  });
});

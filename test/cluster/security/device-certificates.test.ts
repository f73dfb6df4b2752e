/**
 * Goal: edges and front proxies terminate TLS, also behind a PROXY header, and authenticate devices by
 * client certificates.
 * Method: real processes, HAProxy, and clients that trust one authority.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { connectAsync } from 'mqtt';
import WebSocket from 'ws';
import { freePort } from '../../../cli/local/ports.js';
import { Authority, type CertificateFiles, OPENSSL } from '../../support/certificates.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { HAPROXY, testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';
import { documentedBlock, startServer } from '../../support/tls/documented-servers.js';
import { SECRET, tokenOf } from '../../support/tokens.js';

const test = testWith(OPENSSL);
const BACKEND_TOKEN = 'backend-token-0123456789';

let authority: Authority;
let ca: Buffer;
let files: CertificateFiles;
/** A cluster behind a proxy, without TLS. */
let proxied: RunningCluster;
const children: ChildProcess[] = [];

/** A client certificate and its key. */
interface Pair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

beforeAll(async () => {
  authority = new Authority();
  ca = readFileSync(authority.ca);
  files = authority.issue('push', ['DNS:localhost']);
  proxied = await RunningCluster.start({
    edges: 1,
    env: { LONGLINE_PROXY_NETWORKS: '127.0.0.1/32', LONGLINE_SHARD_COUNT: '64' },
  });
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await proxied?.stop();
});

/** Connects with server-sent events and pushes until the text arrives. */
async function receiveOverSse(
  port: number,
  clientId: string,
  wanted: string,
  pair: Partial<Pair> = {},
): Promise<void> {
  const path = `/connect?clientId=${clientId}`;
  const call = request({ host: 'localhost', port, ca, path, ...pair });
  call.end();
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  expect(response.statusCode).toBe(200);
  let received = '';
  response.on('data', (bytes) => {
    received += bytes;
  });
  response.on('error', () => {});
  await eventually(async () => {
    await clusterAt(port).push.push(clientId, wanted);
    return received.includes(wanted);
  });
  call.destroy();
}

/** A cluster whose edge and front terminate TLS, also behind a PROXY header, and know certificates. */
let own: RunningCluster | undefined;
const clusterAt = (port: number) => (ownPorts.includes(port) ? own! : proxied);
const ownPorts: number[] = [];

function pairOf(clientId: string): Pair {
  const { cert, key } = authority.issue(clientId);
  return { cert: readFileSync(cert), key: readFileSync(key) };
}

async function receiveOverWebSocket(
  port: number,
  clientId: string,
  pair: Partial<Pair> = {},
): Promise<void> {
  const url = `wss://localhost:${port}/connect?clientId=${clientId}`;
  const socket = new WebSocket(url, { ca, ...pair });
  await once(socket, 'open');
  const message = once(socket, 'message');
  await clusterAt(port).push.push(clientId, 'over a WebSocket');
  expect(String((await message)[0])).toBe('over a WebSocket');
  socket.terminate();
}

async function receiveOverMqtt(
  port: number,
  clientId: string,
  pair: Partial<Pair> = {},
): Promise<void> {
  const options = { clientId, ca, ...pair };
  const client = await connectAsync(`mqtts://localhost:${port}`, options, false);
  await client.subscribeAsync('#', { qos: 1 });
  const message = new Promise<Buffer>((resolve) =>
    client.once('message', (_topic, payload) => resolve(payload)),
  );
  await clusterAt(port).push.push(clientId, 'over MQTT');
  expect(String(await message)).toBe('over MQTT');
  await client.endAsync(true);
}

describe('TLS in the edge and in the front', () => {
  let edgePort = 0;
  let frontPort = 0;

  beforeAll(async () => {
    const tls = (prefix: string) => ({
      [`${prefix}_CERT_FILE`]: files.cert,
      [`${prefix}_KEY_FILE`]: files.key,
      [`${prefix}_CLIENT_CA_FILE`]: authority.ca,
      [`${prefix}_CLIENT_CERTIFICATES`]: 'optional',
    });
    own = await RunningCluster.start({
      edges: 1,
      token: BACKEND_TOKEN,
      env: {
        ...tls('LONGLINE_EDGE_TLS'),
        ...tls('LONGLINE_ROUTER_FRONT_TLS'),
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
    ownPorts.push(edgePort, frontPort);
  });
  afterAll(() => own?.stop());

  const portOf = (place: string) => (place === 'edge' ? edgePort : frontPort);

  /** Status and error code of a connect request that is rejected. */
  async function rejectionAt(port: number, clientId: string, pair: Partial<Pair>) {
    const path = `/connect?clientId=${clientId}`;
    const call = request({ host: 'localhost', port, ca, path, agent: false, ...pair });
    call.end();
    const [response] = (await once(call, 'response')) as [IncomingMessage];
    const { error } = JSON.parse(await text(response));
    return [response.statusCode, error.code];
  }

  test.each(['edge', 'front'])('every protocol is served at the %s, by certificate', async (at) => {
    await receiveOverSse(portOf(at), 'alice', 'over TLS', pairOf('alice'));
    await receiveOverWebSocket(portOf(at), 'bob', pairOf('bob'));
    await receiveOverMqtt(portOf(at), 'carol', pairOf('carol'));
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
      ca,
      maxVersion: 'TLSv1.2',
    });
    await once(socket, 'open');
    const count = await own!.metric('edge-1', 'longline_edge_tls_connections', { version: '1.2' });
    expect(count).toBe(1);
    socket.terminate();
  });

  testWith(HAPROXY)('a balancer that passes TCP on states the address of the client', async () => {
    const port = await freePort();
    const at = mkdtempSync(join(tmpdir(), 'longline-tcp-'));
    const config = documentedBlock('defaults\n')
      .replace(':8443 ssl crt /etc/haproxy/push.pem', `127.0.0.1:${port}`)
      .replace('127.0.0.1:7000', `127.0.0.1:${edgePort}`);
    writeFileSync(join(at, 'haproxy.cfg'), config);
    await startServer(children, ca, 'haproxy', ['-db', '-f', join(at, 'haproxy.cfg')], port);
    ownPorts.push(port);
    await receiveOverMqtt(port, 'frank', pairOf('frank'));
    const url = `wss://localhost:${port}/connect?clientId=grace`;
    const socket = new WebSocket(url, { ca, ...pairOf('grace') });
    await once(socket, 'open');
    const { localPort } = (socket as unknown as { _socket: { localPort: number } })._socket;
    const { connections } = await own!.push.presence('grace');
    expect(connections[0]!.remoteAddress).toBe(`127.0.0.1:${localPort}`);
    socket.terminate();
  });

  test('plain HTTP on a port with TLS, and TLS on one without, get one clear answer', async () => {
    for (const port of [edgePort, frontPort]) {
      const response = await httpRequest(`http://localhost:${port}/connect?clientId=a`);
      expect([response.status, response.body]).toEqual([400, expect.stringContaining('TLS')]);
    }
    const places = [
      [proxied.cluster.edgeUrl('edge-1'), 'edge-1', 'longline_edge_requests_rejected_total'],
      [proxied.cluster.frontUrl(), 'router', 'longline_router_front_rejected_total'],
    ] as const;
    for (const [url, role, metric] of places) {
      const call = request({ host: 'localhost', port: new URL(url).port, ca });
      call.end();
      const [error] = await once(call, 'error');
      expect(error.message).toContain('alert handshake failure');
      await eventually(async () => {
        expect(await proxied.metric(role, metric, { code: 'TLS_NOT_ENABLED' })).toBe(1);
      });
    }
  });
});

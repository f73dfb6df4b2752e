/**
 * Goal: devices are served over TLS, terminated in the edge or by a proxy in front of it, and the
 * configurations in docs/security.md work unchanged.
 * Method: real processes, including HAProxy and nginx, and clients that trust one authority.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { connectAsync } from 'mqtt';
import WebSocket from 'ws';
import { freePort } from '../../../cli/local/ports.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { Authority, type CertificateFiles, OPENSSL } from '../../support/certificates.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { HAPROXY, NGINX, testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';

const test = testWith(OPENSSL);
const document = readFileSync(join(packageRoot, 'docs/security.md'), 'utf8');

let authority: Authority;
let ca: Buffer;
let files: CertificateFiles;
/** A cluster behind a proxy, without TLS. */
let proxied: RunningCluster;
const children: ChildProcess[] = [];

beforeAll(async () => {
  authority = new Authority();
  ca = readFileSync(authority.ca);
  files = authority.issue('push', ['DNS:localhost']);
  proxied = await RunningCluster.start({
    edges: 1,
    env: { LONGLINE_PROXY_NETWORKS: '127.0.0.1/32', LONGLINE_SHARD_COUNT: '64' },
  });
}, 60_000);

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await proxied?.stop();
}, 30_000);

/** The code block of the document that starts with this text. */
function block(start: string): string {
  const [, text] = document.split(`\`\`\`\n${start}`);
  return `${start}${text!.split('```')[0]}`;
}

/** Starts a server. Resolves when it accepts connections at the port. */
async function start(command: string, args: readonly string[], port: number): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  children.push(child);
  await eventually(async () => {
    const socket = request({ host: 'localhost', port, ca, path: '/healthz' });
    socket.on('error', () => {}).end();
    const [response] = (await once(socket, 'response')) as [IncomingMessage];
    response.resume();
  }, 10_000);
}

/** Connects with server-sent events and pushes until the text arrives. */
async function receiveOverSse(port: number, clientId: string, text: string): Promise<void> {
  const headers = { 'accept-encoding': 'gzip' };
  const path = `/connect?clientId=${clientId}`;
  const call = request({ host: 'localhost', port, ca, path, headers });
  call.end();
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  expect(response.statusCode).toBe(200);
  let received = '';
  const isCompressed = response.headers['content-encoding'] === 'gzip';
  const body = isCompressed ? response.pipe(createGunzip()) : response;
  body.on('data', (bytes) => {
    received += bytes;
  });
  for (const stream of [response, body]) stream.on('error', () => {});
  await eventually(async () => {
    await clusterAt(port).push.push(clientId, text);
    return received.includes(text);
  }, 10_000);
  call.destroy();
}

/** A cluster whose edge terminates TLS. */
let own: RunningCluster | undefined;
let ownPort = 0;
const clusterAt = (port: number) => (port === ownPort ? own! : proxied);

async function receiveOverWebSocket(port: number, clientId: string): Promise<void> {
  const socket = new WebSocket(`wss://localhost:${port}/connect?clientId=${clientId}`, { ca });
  await once(socket, 'open');
  const message = once(socket, 'message');
  await clusterAt(port).push.push(clientId, 'over a WebSocket');
  expect(String((await message)[0])).toBe('over a WebSocket');
  socket.terminate();
}

async function receiveOverMqtt(port: number, clientId: string): Promise<void> {
  const client = await connectAsync(`mqtts://localhost:${port}`, { clientId, ca }, false);
  await client.subscribeAsync('#', { qos: 1 });
  const message = new Promise<Buffer>((resolve) =>
    client.once('message', (_topic, payload) => resolve(payload)),
  );
  await clusterAt(port).push.push(clientId, 'over MQTT');
  expect(String(await message)).toBe('over MQTT');
  await client.endAsync(true);
}

describe('TLS in the edge', () => {
  beforeAll(async () => {
    own = await RunningCluster.start({
      edges: 1,
      env: {
        LONGLINE_EDGE_TLS_CERT_FILE: files.cert,
        LONGLINE_EDGE_TLS_KEY_FILE: files.key,
        LONGLINE_SHARD_COUNT: '64',
      },
    });
    ownPort = Number(new URL(own.cluster.edgeUrl('edge-1')).port);
  }, 60_000);
  afterAll(() => own?.stop(), 30_000);

  test('the router redirects devices to https, and every protocol is served', async () => {
    expect((await own!.lookUp('alice')).url).toMatch(/^https:\/\/localhost:\d+\/connect\?/);
    await receiveOverSse(ownPort, 'alice', 'over TLS');
    await receiveOverWebSocket(ownPort, 'bob');
    await receiveOverMqtt(ownPort, 'carol');
  });
});

describe('TLS in front of the edge', () => {
  const folder = () => mkdtempSync(join(tmpdir(), 'longline-front-'));
  const devicePort = () => new URL(proxied.cluster.edgeUrl('edge-1')).port;

  testWith(HAPROXY)(
    'HAProxy serves every protocol and forwards the address of the client',
    async () => {
      const port = await freePort();
      const at = folder();
      const pem = join(at, 'push.pem');
      writeFileSync(pem, readFileSync(files.cert, 'utf8') + readFileSync(files.key, 'utf8'));
      const config = block('defaults\n')
        .replace(':8443', `127.0.0.1:${port}`)
        .replace('/etc/haproxy/push.pem', pem)
        .replace('127.0.0.1:7000', `127.0.0.1:${devicePort()}`);
      writeFileSync(join(at, 'haproxy.cfg'), config);
      await start('haproxy', ['-db', '-f', join(at, 'haproxy.cfg')], port);
      await receiveOverSse(port, 'alice', 'through HAProxy');
      await receiveOverWebSocket(port, 'bob');
      await receiveOverMqtt(port, 'carol');
      const socket = new WebSocket(`wss://localhost:${port}/connect?clientId=dave`, { ca });
      await once(socket, 'open');
      // The types of `ws` do not include its socket.
      const { localPort } = (socket as unknown as { _socket: { localPort: number } })._socket;
      const { connections } = await proxied.push.presence('dave');
      expect(connections[0]!.remoteAddress).toBe(`127.0.0.1:${localPort}`);
      socket.terminate();
    },
    40_000,
  );

  testWith(NGINX)(
    'nginx serves the HTTP protocols',
    async () => {
      const port = await freePort();
      const at = folder();
      for (const name of ['logs', 'temp']) mkdirSync(join(at, name));
      const server = block('server {\n')
        .replace('8443', `127.0.0.1:${port}`)
        .replace('push.pem', files.cert)
        .replace('push.key', files.key)
        .replace('127.0.0.1:7000', `127.0.0.1:${devicePort()}`);
      const map = /`(map \$http_upgrade.*?})`/.exec(document)![1];
      const temps = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
        .map((name) => `${name}_temp_path ${join(at, 'temp')};`)
        .join('\n');
      // It must not hold back events in order to compress more of them.
      const gzip = 'gzip on;\ngzip_types *;\ngzip_proxied any;\ngzip_min_length 1;';
      writeFileSync(
        join(at, 'nginx.conf'),
        `daemon off;\npid ${at}/pid;\nerror_log ${at}/logs/error.log;\nevents {}\n` +
          `http {\naccess_log off;\n${gzip}\n${temps}\n${map}\n${server}}\n`,
      );
      await start('nginx', ['-p', at, '-c', join(at, 'nginx.conf')], port);
      await receiveOverSse(port, 'erin', 'through nginx');
      await receiveOverWebSocket(port, 'frank');
    },
    40_000,
  );
});

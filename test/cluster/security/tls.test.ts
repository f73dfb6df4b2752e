/**
 * **Goal:** devices are served over TLS, ended in the edge or by what stands in front of it, and the
 * configurations in docs/security.md work as they stand there.
 * **Method:** real processes, HAProxy and nginx among them, and clients that trust one authority.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
let behind: RunningCluster;
const children: ChildProcess[] = [];

beforeAll(async () => {
  authority = new Authority();
  ca = readFileSync(authority.ca);
  files = authority.issue('push', ['DNS:localhost']);
  behind = await RunningCluster.start({
    edges: 1,
    env: { LONGLINE_PROXY_NETWORKS: '127.0.0.1/32', LONGLINE_SHARD_COUNT: '64' },
  });
}, 60_000);

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await behind?.stop();
}, 30_000);

/** The block of the document that begins with these words. */
function block(beginning: string): string {
  const [, text] = document.split(`\`\`\`\n${beginning}`);
  return `${beginning}${text!.split('```')[0]}`;
}

/** Starts a server and resolves when it takes connections at the port. */
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

/** What comes over a stream of server-sent events until a text is in it. */
async function hear(port: number, clientId: string, text: string): Promise<string> {
  const call = request({ host: 'localhost', port, ca, path: `/connect?clientId=${clientId}` });
  call.end();
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  expect(response.statusCode).toBe(200);
  let heard = '';
  response.on('data', (bytes) => {
    heard += bytes;
  });
  response.on('error', () => {});
  await eventually(async () => {
    await behindOrOwn(port).push.push(clientId, text);
    return heard.includes(text);
  }, 10_000);
  call.destroy();
  return heard;
}

let own: RunningCluster | undefined;
let ownPort = 0;
const behindOrOwn = (port: number) => (port === ownPort ? own! : behind);

async function hearOverWebSocket(port: number, clientId: string): Promise<void> {
  const socket = new WebSocket(`wss://localhost:${port}/connect?clientId=${clientId}`, { ca });
  await once(socket, 'open');
  const message = once(socket, 'message');
  await behindOrOwn(port).push.push(clientId, 'over a WebSocket');
  expect(String((await message)[0])).toBe('over a WebSocket');
  socket.terminate();
}

async function hearOverMqtt(port: number, clientId: string): Promise<void> {
  const client = await connectAsync(`mqtts://localhost:${port}`, { clientId, ca }, false);
  await client.subscribeAsync('#', { qos: 1 });
  const message = new Promise<Buffer>((resolve) =>
    client.once('message', (_topic, payload) => resolve(payload)),
  );
  await behindOrOwn(port).push.push(clientId, 'over MQTT');
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

  test('the router sends devices to https, and every protocol is served', async () => {
    expect((await own!.lookUp('alice')).url).toMatch(/^https:\/\/localhost:\d+\/connect\?/);
    await hear(ownPort, 'alice', 'over TLS');
    await hearOverWebSocket(ownPort, 'bob');
    await hearOverMqtt(ownPort, 'carol');
    expect(await own!.metric('edge-1', 'longline_edge_transport_native')).toBe(0);
  });
});

describe('TLS in front of the edge', () => {
  const folder = () => mkdtempSync(join(tmpdir(), 'longline-front-'));
  const devicePort = () => new URL(behind.cluster.edgeUrl('edge-1')).port;

  testWith(HAPROXY)(
    'HAProxy serves every protocol and says who connects',
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
      await hear(port, 'alice', 'through HAProxy');
      await hearOverWebSocket(port, 'bob');
      await hearOverMqtt(port, 'carol');
      const socket = new WebSocket(`wss://localhost:${port}/connect?clientId=dave`, { ca });
      await once(socket, 'open');
      // The type is forced: `ws` does not say that its socket can be asked.
      const { localPort } = (socket as unknown as { _socket: { localPort: number } })._socket;
      const { connections } = await behind.push.presence('dave');
      expect(connections[0]!.remoteAddress).toBe(`127.0.0.1:${localPort}`);
      socket.terminate();
    },
    40_000,
  );

  testWith(NGINX)(
    'nginx serves what is HTTP',
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
      writeFileSync(
        join(at, 'nginx.conf'),
        `daemon off;\npid ${at}/pid;\nerror_log ${at}/logs/error.log;\nevents {}\n` +
          `http {\naccess_log off;\n${temps}\n${map}\n${server}}\n`,
      );
      await start('nginx', ['-p', at, '-c', join(at, 'nginx.conf')], port);
      await hear(port, 'erin', 'through nginx');
      await hearOverWebSocket(port, 'frank');
    },
    40_000,
  );
});

/**
 * Goal: devices are served over TLS, terminated in the edge or by a proxy in front of it, and the
 * configurations in docs/security.md work unchanged.
 * Method: real processes, including HAProxy and nginx, and clients that trust one authority.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import WebSocket from 'ws';
import { residentBytes } from '../../../bench/support/memory/process-memory.js';
import { freePort } from '../../../cli/local/ports.js';
import { OPENSSL } from '../../support/certificates.js';
import { LIVE } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import {
  CURL,
  HAPROXY,
  NGINX,
  PYTHON,
  PYTHON_PATH,
  testWith,
} from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import {
  documentedBlock,
  securityDocument,
  startServer,
} from '../../support/tls/documented-servers.js';
import { HalfHandshakes } from '../../support/tls/half-handshakes.js';
import { useTls } from '../../support/tls/tls-fixture.js';

const test = testWith(OPENSSL);

const HALF_HANDSHAKES = 10_000;
/** Half of them are unfinished at a time, of up to 58 KB each (docs/security.md), and a reserve. */
const UNFINISHED_BYTES_MAX = 352 * 2 ** 20;

const tls = useTls();
/** A cluster whose edges terminate TLS. */
let own: RunningCluster | undefined;
let ownPorts: number[] = [];

/** The port of the edge that owns the client. */
async function portOf(clientId: string): Promise<number> {
  const { url } = await own!.lookUp(clientId);
  expect(url).toMatch(/^https:\/\/localhost:\d+\/connect\?/);
  return Number(new URL(url).port);
}

/** A client for each edge, by the index of the edge. */
async function clientOfEdge(edge: number): Promise<{ clientId: string; port: number }> {
  const [clientId] = await own!.clientIdsOf(`edge-${edge + 1}`, 1);
  return { clientId: clientId!, port: ownPorts[edge]! };
}

/** Pushes until the text is part of what a client has printed. */
async function untilPrinted(clientId: string, text: string, printed: () => string): Promise<void> {
  await eventually(async () => {
    await own!.push.push(clientId, text);
    return printed().includes(text);
  });
}

const requestOf = (clientId: string) =>
  `GET /connect?clientId=${clientId} HTTP/1.1\r\nHost: localhost\r\n\r\n`;

/** A client that is a command of the system. */
function run(command: string, args: readonly string[]) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  tls.children.push(child);
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (bytes) => {
      printed += bytes;
    });
  }
  return {
    printed: () => printed,
    type: (text: string) => child.stdin.write(text),
    exited: once(child, 'exit'),
  };
}

function openssl(port: number, ...more: string[]) {
  const trust = ['-CAfile', tls.authority.ca, '-verify_return_error', '-servername', 'localhost'];
  return run('openssl', ['s_client', '-connect', `localhost:${port}`, ...trust, ...more]);
}

/** Receives a push from each port, with the session of the connection before. */
const PYTHON_CLIENT = `
import socket, ssl, sys
ca, *rest = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
session = None
for port, client in zip(rest[::2], rest[1::2]):
    plain = socket.create_connection(('localhost', int(port)))
    with context.wrap_socket(plain, server_hostname='localhost', session=session) as stream:
        stream.sendall(f'GET /connect?clientId={client} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'.encode())
        text = ''
        while 'to Python' not in text:
            text += stream.recv(4096).decode()
        print(stream.version(), stream.session_reused, flush=True)
        session = stream.session
`;

describe('TLS in the edge', () => {
  beforeAll(async () => {
    const ticketKey = join(tls.authority.folder, 'ticket.key');
    writeFileSync(ticketKey, randomBytes(48));
    own = await RunningCluster.start({
      edges: 2,
      env: {
        LONGLINE_EDGE_TLS_TICKET_KEY_FILE: ticketKey,
        LONGLINE_EDGE_TLS_CERT_FILE: tls.files.cert,
        LONGLINE_EDGE_TLS_KEY_FILE: tls.files.key,
        // Otherwise only a thousand connections a second are accepted.
        LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX: '0',
        LONGLINE_SHARD_COUNT: '64',
      },
    });
    const { cluster } = own;
    ownPorts = ['edge-1', 'edge-2'].map((name) => Number(new URL(cluster.edgeUrl(name)).port));
    for (const port of ownPorts) tls.clusters.set(port, own);
  });
  afterAll(() => own?.stop());

  test('the router redirects devices to https, and every protocol is served', async () => {
    await tls.receiveOverSse(await portOf('alice'), 'alice', 'over TLS');
    await tls.receiveOverWebSocket(await portOf('bob'), 'bob');
    await tls.receiveOverMqtt(await portOf('carol'), 'carol');
  });

  test('openssl s_client receives before and after changes of keys, in both directions', async () => {
    const { clientId, port } = await clientOfEdge(0);
    const client = openssl(port);
    client.type(requestOf(clientId));
    await untilPrinted(clientId, 'with the first keys', client.printed);
    const untilUpdated = (times: number) =>
      eventually(() => client.printed().split('KEYUPDATE').length === 1 + times);
    client.type('K\n');
    await untilUpdated(1);
    await untilPrinted(clientId, 'with the keys that were requested', client.printed);
    client.type('k\n');
    await untilUpdated(2);
    await untilPrinted(clientId, 'with the same keys', client.printed);
    // close_notify, with the client's newest keys.
    client.type('Q\n');
    expect(await client.exited).toEqual([0, null]);
    const name = 'longline_edge_tls_failures_total';
    expect(await own!.metric('edge-1', name, { reason: 'bad_record' })).toBe(0);
  });

  test.each(['-tls1_3', '-tls1_2'])(
    'openssl s_client %s resumes at another edge',
    async (version) => {
      const session = join(mkdtempSync(join(tmpdir(), 'longline-session-')), 'session');
      const first = await clientOfEdge(0);
      const full = openssl(first.port, version, '-sess_out', session);
      full.type(requestOf(first.clientId));
      await untilPrinted(first.clientId, 'after a full handshake', full.printed);
      full.type('Q\n');
      await full.exited;
      const second = await clientOfEdge(1);
      const resumed = openssl(second.port, version, '-sess_in', session);
      resumed.type(requestOf(second.clientId));
      await untilPrinted(second.clientId, 'after a resumption', resumed.printed);
      expect(full.printed()).toMatch(/New, TLSv1/);
      expect(resumed.printed()).toMatch(/Reused, TLSv1/);
      resumed.type('Q\n');
      await resumed.exited;
    },
  );

  test('ten thousand half handshakes take bounded memory, and others are served', async () => {
    const clientId = await own!.clientIdOf('edge-1', 'flooded');
    const [port] = ownPorts as [number];
    const socket = new WebSocket(`wss://localhost:${port}/connect?clientId=${clientId}`, {
      ca: tls.ca,
    });
    await once(socket, 'open');
    const received: string[] = [];
    socket.on('message', (bytes) => received.push(String(bytes)));
    // Where a PROXY header may come first, the timeout of the head includes the handshake.
    const code = 'HEAD_TIMEOUT';
    const ended = async () => {
      let sum = await own!.metric('edge-1', 'longline_edge_requests_rejected_total', { code });
      for (const reason of ['handshake_aborted', 'handshake_timeout', 'too_many_handshakes']) {
        sum += await own!.metric('edge-1', 'longline_edge_tls_failures_total', { reason });
      }
      return sum;
    };
    const pid = own!.cluster.pid('edge-1')!;
    const [endedBefore, bytesBefore] = [await ended(), residentBytes(pid)];
    const halves = await HalfHandshakes.open(port, HALF_HANDSHAKES);
    try {
      await own!.push.push(clientId, 'beside the flood');
      await eventually(() => expect(halves.served).toBe(HALF_HANDSHAKES), 60_000);
      expect(residentBytes(pid) - bytesBefore).toBeLessThan(UNFINISHED_BYTES_MAX);
      await eventually(() => expect(received).toEqual(['beside the flood']));
      await tls.receiveOverSse(port, `${clientId}/other`, 'connected after the flood');
    } finally {
      await halves.close();
      socket.terminate();
    }
    await eventually(async () => expect(await ended()).toBe(endedBefore + HALF_HANDSHAKES));
  });

  const versions = [['1.3'], ['1.2']];
  testWith(CURL).each(versions)('curl receives over TLS %s', async (version) => {
    const { clientId, port } = await clientOfEdge(0);
    const url = `https://localhost:${port}/connect?clientId=${clientId}`;
    const only = [`--tlsv${version}`, '--tls-max', version];
    const client = run('curl', ['-sSvN', ...only, '--cacert', tls.authority.ca, url]);
    await untilPrinted(clientId, `to curl over ${version}`, client.printed);
    expect(client.printed()).toContain(`SSL connection using TLSv${version}`);
  });

  testWith(PYTHON)('Python receives, and resumes its session at another edge', async () => {
    const clients = [await clientOfEdge(0), await clientOfEdge(1), await clientOfEdge(0)];
    const args = clients.flatMap(({ port, clientId }) => [`${port}`, clientId]);
    const client = run(PYTHON_PATH, ['-c', PYTHON_CLIENT, tls.authority.ca, ...args]);
    await eventually(async () => {
      for (const { clientId } of clients) await own!.push.push(clientId, 'to Python', LIVE);
      return client.printed().split('\n').length > clients.length;
    });
    expect(client.printed()).toBe('TLSv1.3 False\nTLSv1.3 True\nTLSv1.3 True\n');
  });
});

describe('TLS in front of the edge', () => {
  const folder = () => mkdtempSync(join(tmpdir(), 'longline-front-'));
  const devicePort = () => new URL(tls.proxied.cluster.edgeUrl('edge-1')).port;

  testWith(HAPROXY)(
    'HAProxy serves every protocol and forwards the address of the client',
    async () => {
      const port = await freePort();
      const pem = join(folder(), 'push.pem');
      const { cert, key } = tls.files;
      writeFileSync(pem, readFileSync(cert, 'utf8') + readFileSync(key, 'utf8'));
      await tls.startHaProxy(port, {
        ':8443': `127.0.0.1:${port}`,
        '/etc/haproxy/push.pem': pem,
        '127.0.0.1:7000': `127.0.0.1:${devicePort()}`,
      });
      await tls.receiveOverSse(port, 'alice', 'through HAProxy');
      await tls.receiveOverWebSocket(port, 'bob');
      await tls.receiveOverMqtt(port, 'carol');
      await tls.expectOwnAddress(port, 'dave');
    },
  );

  testWith(NGINX)('nginx serves the HTTP protocols', async () => {
    const port = await freePort();
    const at = folder();
    for (const name of ['logs', 'temp']) mkdirSync(join(at, name));
    const server = documentedBlock('server {\n')
      .replace('8443', `127.0.0.1:${port}`)
      .replace('push.pem', tls.files.cert)
      .replace('push.key', tls.files.key)
      .replace('127.0.0.1:7000', `127.0.0.1:${devicePort()}`);
    const map = /`(map \$http_upgrade.*?})`/.exec(securityDocument)![1];
    const temps = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((name) => `${name}_temp_path ${join(at, 'temp')};`)
      .join('\n');
    // It must not hold back events in order to compress more of them.
    const gzip = 'gzip on;\ngzip_types *;\ngzip_proxied any;\ngzip_min_length 1;';
    writeFileSync(
      join(at, 'nginx.conf'),
      `daemon off;\nmaster_process off;\npid ${at}/pid;\nerror_log ${at}/logs/error.log;\nevents {}\n` +
        `http {\naccess_log off;\n${gzip}\n${temps}\n${map}\n${server}}\n`,
    );
    await startServer(
      tls.children,
      tls.ca,
      'nginx',
      ['-p', at, '-c', join(at, 'nginx.conf')],
      port,
    );
    await tls.receiveOverSse(port, 'erin', 'through nginx');
    await tls.receiveOverWebSocket(port, 'frank');
  });
});

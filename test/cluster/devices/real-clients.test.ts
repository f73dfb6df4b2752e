/**
 * Goal: third-party clients receive and push: curl, the `eventsource` package, EventSource in
 * Chromium, gRPC and HTTP clients in Python. The browser keeps receiving when its edge restarts and
 * when its shard moves. Method: one cluster of processes, which are restarted when they exit; each
 * client is a process as well. The page of the browser has another origin than router and edges.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { EventSource } from 'eventsource';
import { type Browser, chromium, type Page } from 'playwright-core';
import { packageRoot } from '../../../common/process/package-root.js';
import { LIVE, NO_ANSWER } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { CHROMIUM_ARGS } from '../../support/devices/chromium.js';
import {
  CHROMIUM,
  CHROMIUM_PATH,
  CURL,
  PYTHON_GRPC,
  PYTHON_PATH,
  PYTHON_REQUESTS,
  testWith,
} from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';

const execute = promisify(execFile);

let running: RunningCluster;

beforeAll(async () => {
  // Moves of fewer shards are over sooner.
  const env = { LONGLINE_SHARD_COUNT: '64' };
  running = await RunningCluster.start({ edges: 2, restart: true, env });
});

afterAll(() => running?.stop());

/** Resolves when a live push reaches the client, which may still be connecting. */
function untilWritten(clientId: string, payload: string): Promise<boolean> {
  return eventually(
    async () => (await running.push.push(clientId, payload, LIVE)).verdict === 'WRITTEN',
  );
}

testWith(CURL)('curl follows the redirect and prints events on arrival', async () => {
  const curl = spawn('curl', ['-sS', '-N', '-L', running.connectUrl('curl')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const printed = collect(curl);
    await untilWritten('curl', '{"hello":"world"}');
    const { messageId } = await running.push.push('curl', 'stored\nin two lines');
    await eventually(() =>
      printed().endsWith(`id: ${messageId}\ndata: stored\ndata: in two lines\n\n`),
    );
    expect(printed()).toContain('data: {"hello":"world"}\n\n');
    expect(curl.exitCode).toBeNull();
  } finally {
    await end(curl);
  }
});

/** Prints each line of a stream on arrival, read in four ways, and how the stream ends. */
const PYTHON_READERS = `
import http.client, os, sys, urllib.parse, requests, urllib3
reader, url = sys.argv[1:]
at = urllib.parse.urlsplit(url)
def direct():
    response = requests.get(url, stream=True, allow_redirects=True)
    return response.iter_lines()
def pooled():
    trusted = os.environ.get('REQUESTS_CA_BUNDLE')
    pool = urllib3.PoolManager(ca_certs=trusted)
    response = pool.request('GET', url, preload_content=False)
    return (line for part in response.stream() for line in part.splitlines())
def plain(version):
    final = requests.get(url, stream=True)
    final.close()
    kinds = {'http': http.client.HTTPConnection, 'https': http.client.HTTPSConnection}
    at = urllib.parse.urlsplit(final.url)
    connection = kinds[at.scheme](at.hostname, at.port)
    connection._http_vsn, connection._http_vsn_str = version, 'HTTP/1.%d' % (version - 10)
    connection.request('GET', at.path + '?' + at.query)
    return iter(connection.getresponse().readline, b'')
for line in {'requests': direct, 'urllib3': pooled, 'http.client': lambda: plain(11),
             'http.client over HTTP/1.0': lambda: plain(10)}[reader]():
    print(line.decode().rstrip(), flush=True)
print('ended in order', flush=True)
`;

for (const reader of ['requests', 'urllib3', 'http.client', 'http.client over HTTP/1.0']) {
  testWith(PYTHON_REQUESTS)(
    `Python's ${reader} receives each event at once, and sees the end of the stream`,
    async () => {
      const clientId = `python-${reader}`;
      const args = ['-c', PYTHON_READERS, reader, running.connectUrl(clientId)];
      const device = spawn(PYTHON_PATH, args, {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      try {
        const printed = collect(device);
        await eventually(() => expect(printed()).toBe('retry: 1000\n'));
        await untilWritten(clientId, 'first');
        await eventually(() => expect(printed()).toContain('\ndata: first\n'));
        await untilWritten(clientId, 'second');
        await eventually(() => expect(printed()).toContain('\ndata: second\n'));
        expect(device.exitCode).toBeNull();
        await running.push.disconnect(clientId);
        await eventually(() => expect(printed()).toContain('\nended in order\n'));
      } finally {
        await end(device);
      }
    },
  );
}

test('the eventsource package receives, and resumes when its edge restarts', async () => {
  const clientId = await running.clientIdOf('edge-2', 'package');
  const source = new EventSource(running.connectUrl(clientId));
  const got: string[] = [];
  source.addEventListener('message', ({ data }) => got.push(data));
  try {
    await untilWritten(clientId, 'live');
    await eventually(async () => {
      return (await running.push.push(clientId, 'stored')).verdict === 'WRITTEN';
    });
    await running.cluster.kill('edge-2');
    expect((await running.push.push(clientId, 'while away', NO_ANSWER)).verdict).toBe('STORED');
    await eventually(() => got.includes('while away'));
    expect(got).toEqual([...new Set(got)]);
    await untilWritten(clientId, 'live again');
    await eventually(() => got.at(-1) === 'live again');
  } finally {
    source.close();
  }
  await running.untilReady();
});

describe('EventSource of Chromium, on a page of another origin', () => {
  const testHere = testWith(CHROMIUM);
  let browser: Browser | undefined;
  let pages: Server;

  beforeAll(async () => {
    if (testHere === test.skip) return;
    pages = createServer((_, response) => {
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><title>A page of another origin</title>');
    }).listen(0, '127.0.0.1');
    await once(pages, 'listening');
    browser = await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGS });
  });

  afterAll(async () => {
    await browser?.close();
    pages?.close();
  });

  /** A page that records the events of its EventSource. */
  async function openPage(clientId: string): Promise<Page> {
    const page = await browser!.newPage();
    await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`);
    // A string, because an instrumented function would not run in the page.
    await page.evaluate(`
      globalThis.got = [];
      globalThis.source = new EventSource(${JSON.stringify(running.connectUrl(clientId))});
      for (const name of ['message', 'base64', 'reset', 'session-replaced']) {
        source.addEventListener(name, ({ type, data, lastEventId }) => {
          got.push({ type, data, lastEventId });
        });
      }
    `);
    return page;
  }

  const received = (page: Page) =>
    page.evaluate('got') as Promise<{ type: string; data: string; lastEventId: string }[]>;

  const untilReceived = (page: Page, payload: string) =>
    eventually(async () => (await received(page)).some(({ data }) => data === payload));

  const edgesOf = async (clientId: string) =>
    (await running.push.presence(clientId)).connections.map(({ edgeId }) => edgeId);

  testHere('receives payloads that need careful framing', async () => {
    const page = await openPage('framing');
    await untilWritten('framing', 'begin');
    await untilReceived(page, 'begin');
    const before = (await received(page)).length;
    const payloads = ['', 'a\nb\r\nc\rd\n', 'x\n\nid: 1\n\ndata: y', '日本語 🦈', ' two blanks  '];
    for (const payload of payloads) await running.push.push('framing', payload, LIVE);
    await running.push.push('framing', Buffer.from('ff00', 'hex'), LIVE);
    await eventually(async () => (await received(page)).length === before + payloads.length + 1);
    const events = (await received(page)).slice(before);
    expect(events.map(({ type, data }) => [type, data])).toEqual([
      ['message', ''],
      ['message', 'a\nb\nc\nd\n'],
      ['message', 'x\n\nid: 1\n\ndata: y'],
      ['message', '日本語 🦈'],
      ['message', ' two blanks  '],
      ['base64', '/wA='],
    ]);
    await page.close();
  });

  testHere(
    'receives after a redirect, a restart of its edge, and a drain of its edge',
    async () => {
      const clientId = await running.clientIdOf('edge-1', 'browser');
      const page = await openPage(clientId);
      await untilWritten(clientId, 'through the redirect');
      await untilReceived(page, 'through the redirect');
      expect(await edgesOf(clientId)).toEqual(['edge-1']);

      // The edge restarts in place. The browser reconnects to it, and is redirected if others have
      // its shards.
      await running.cluster.kill('edge-1');
      const away = await running.push.push(clientId, 'while the edge was away', NO_ANSWER);
      expect(away.verdict).toBe('STORED');
      await untilReceived(page, 'while the edge was away');
      await running.untilReady();
      const [drained] = await edgesOf(clientId);

      // Its shard moves. The edge disconnects the page, which reconnects to the same edge and is
      // redirected. Pushes during the move arrive once and in order.
      await running.postToControl(`/v1/edges/${drained}/drain`);
      const moving: string[] = [];
      await eventually(async () => {
        moving.push(`moving ${moving.length}`);
        await running.push.push(clientId, moving.at(-1)!, NO_ANSWER);
        const edges = await edgesOf(clientId);
        return edges.length === 1 && edges[0] !== drained;
      }, 100_000);
      await untilWritten(clientId, 'at the new owner');
      await untilReceived(page, 'at the new owner');

      const events = await received(page);
      const stored = events.filter(
        ({ data }) => data.startsWith('while') || data.startsWith('moving'),
      );
      expect(stored.map(({ data }) => data)).toEqual(['while the edge was away', ...moving]);
      expect(stored[0]!.lastEventId).toBe(away.messageId);
      await running.undrain(drained!);
      await page.close();
    },
  );
});

const STORED = 'VERDICT_STORED';

testWith(PYTHON_GRPC)('a generated Python client pushes and receives the verdict', async () => {
  const generated = await mkdtemp(join(tmpdir(), 'longline-python-'));
  try {
    const proto = join(packageRoot, 'proto');
    const { stdout } = await execute('sh', ['-c', 'command -v grpc_python_plugin']);
    const plugin = `--plugin=protoc-gen-grpc=${stdout.trim()}`;
    const out = [`--python_out=${generated}`, `--grpc_out=${generated}`];
    const files = ['assignment', 'push'].map((name) => `longline/v1/${name}.proto`);
    await execute('protoc', ['-I', proto, plugin, ...out, ...files]);
    const script = join(packageRoot, 'test/cluster/pushes/push.py');
    const push = async (clientId: string, ttlMs: number) => {
      const args = [
        script,
        generated,
        running.cluster.routerAddress,
        clientId,
        'grüße',
        `${ttlMs}`,
      ];
      return JSON.parse((await execute(PYTHON_PATH, args)).stdout);
    };
    const device = new EventSource(running.connectUrl('python'));
    const got: string[] = [];
    device.addEventListener('message', ({ data }) => got.push(data));
    try {
      await untilWritten('python', 'ready');
      expect(await push('python', 0)).toEqual({ verdict: 'VERDICT_WRITTEN', messageId: '' });
      await eventually(() => got.at(-1) === 'grüße');
    } finally {
      device.close();
    }
    expect(await push('python-offline', 0)).toEqual({
      verdict: 'VERDICT_OFFLINE',
      messageId: '',
    });
    expect(await push('python-offline', 60_000)).toEqual({
      verdict: 'VERDICT_STORED',
      messageId: expect.stringMatching(/^\d+-\d+$/),
    });
    expect(await push('', 0)).toEqual({
      code: 'INVALID_ARGUMENT',
      details: expect.stringContaining('CLIENT_ID_INVALID'),
    });
    const stream = join(packageRoot, 'test/cluster/pushes/stream.py');
    const args = [stream, generated, running.cluster.routerAddress];
    const { stdout: outcomes } = await execute(PYTHON_PATH, args);
    expect(JSON.parse(outcomes)).toEqual({
      ...Object.fromEntries([1n, 2n, 3n, 4n, 5n].map((i) => [`${2n ** 64n - i}`, STORED])),
      '9007199254740993': 'PAYLOAD_TOO_LARGE',
      '9007199254740994': STORED,
      '0': 'PAYLOAD_TOO_LARGE',
      '100': STORED,
    });
  } finally {
    await rm(generated, { recursive: true, force: true });
  }
});

testWith(CURL)('curl pushes over HTTP, and streams lines', async () => {
  const body = '{"clientId":"from-curl","payloadText":"from curl"}';
  const type = 'content-type: application/json';
  const url = `${running.cluster.pushUrl()}/v1/push`;
  const pushed = await execute('curl', ['-sS', '-H', type, '-d', body, url]);
  expect(JSON.parse(pushed.stdout)).toMatchObject({ verdict: 'STORED' });
  const lines = Array.from(
    { length: 1_000 },
    (_, i) => `{"correlationId":"${i}","clientId":"curl-${i}","payload":${i}}\n`,
  ).join('');
  const ndjson = 'content-type: application/x-ndjson';
  const args = ['-sSN', '-T', '-', '-X', 'POST', '-H', ndjson, `${url}:stream`];
  const curl = spawn('curl', args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const printed = collect(curl);
  curl.stdin.end(lines);
  await once(curl, 'close');
  const results = printed()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(results.filter(({ verdict }) => verdict === 'STORED')).toHaveLength(1_000);
  expect(new Set(results.map(({ correlationId }) => correlationId)).size).toBe(1_000);
});

testWith(PYTHON_REQUESTS)('Python requests pushes over one HTTP connection', async () => {
  const program = `
import requests, sys
session = requests.Session()
for i in range(3):
  answer = session.post(sys.argv[1], json={"clientId": "from-python", "payload": {"n": i, "text": "\u00e9"}})
  print(answer.status_code, answer.json()["verdict"])
answer = session.post(sys.argv[1], json={"clientId": "", "payload": 1})
print(answer.status_code, answer.json()["error"]["code"])`;
  const { stdout } = await execute(PYTHON_PATH, [
    '-c',
    program,
    `${running.cluster.pushUrl()}/v1/push`,
  ]);
  expect(stdout).toBe(`${'200 STORED\n'.repeat(3)}400 CLIENT_ID_INVALID\n`);
});

/** Returns a function that returns the output of a process so far. */
function collect(child: ChildProcess): () => string {
  let printed = '';
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
    printed += chunk;
  });
  return () => printed;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

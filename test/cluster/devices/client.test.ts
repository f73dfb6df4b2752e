/**
 * Goal: the Longline client neither misses nor repeats a push when its edge crashes or is drained,
 * when another connection replaces it, and when a backend disconnects it. It reports a gap when
 * pushes have expired. The same holds in a page of Chromium, which loads the built files. A page
 * that is reloaded in the middle of a growing message shows it whole. Method: one cluster of
 * processes, which are restarted when they exit; every scenario over each transport of the client.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { WebSocket } from 'ws';
import {
  type Client,
  type ClientState,
  type ConnectOptions,
  connect,
  type Push,
  type WebSocketConstructor,
} from '../../../client/connect.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { WaitFor } from '../../../proto/gen/longline/v1/push.js';
import { LIVE, NO_ANSWER } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { CHROMIUM_ARGS } from '../../support/devices/chromium.js';
import { CHROMIUM, CHROMIUM_PATH, testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';

// Node.js has a global WebSocket from release 22 on. Without it, the option selects the transport.
Reflect.deleteProperty(globalThis, 'WebSocket');

const VIAS: [string, WebSocketConstructor | undefined][] = [
  ['stream', undefined],
  ['websocket', WebSocket],
];

/** Moves wait for the receiving edge, which is slow on a busy machine. */
const DRAIN_DEADLINE_MS = 120_000;

let running: RunningCluster;

beforeAll(async () => {
  // A drain of fewer shards is shorter.
  const env = { LONGLINE_SHARD_COUNT: '64' };
  running = await RunningCluster.start({ edges: 2, restart: true, env });
});

afterAll(() => running?.stop());

const open: Listener[] = [];

afterEach(() => {
  for (const listener of open.splice(0)) listener.client.close();
});

/** A client with all its callbacks recorded. */
class Listener {
  readonly pushes: Push[] = [];
  readonly states: ClientState[] = [];
  gaps = 0;
  readonly client: Client;

  constructor(clientId: string, options: Partial<ConnectOptions>) {
    this.client = connect({
      router: running.cluster.routerUrl,
      clientId,
      onPush: (push) => this.pushes.push(push),
      onGap: () => this.gaps++,
      onState: (state) => this.states.push(state),
      ...options,
    });
    open.push(this);
  }

  get data(): unknown[] {
    return this.pushes.map(({ data }) => data);
  }

  get state(): ClientState | undefined {
    return this.states.at(-1);
  }

  untilConnected(): Promise<boolean> {
    return eventually(() => this.state?.type === 'connected');
  }
}

const edgesOf = async (clientId: string) =>
  (await running.push.presence(clientId)).connections.map(({ edgeId }) => edgeId);

/** Drains the edge of a client. Resolves with the payloads pushed during the drain. */
async function drainWithPushes(edge: string, clientId: string): Promise<string[]> {
  // Moves were stopped after the drain before.
  await running.postToControl('/v1/resume');
  await running.postToControl(`/v1/edges/${edge}/drain`);
  const pushed: string[] = [];
  await eventually(async () => {
    pushed.push(`moving ${pushed.length}`);
    await running.push.push(clientId, pushed.at(-1)!, NO_ANSWER);
    const [at, ...others] = await edgesOf(clientId);
    return at !== undefined && at !== edge && others.length === 0;
  }, DRAIN_DEADLINE_MS);
  return pushed;
}

describe.each(VIAS)('over a %s', (via, webSocket) => {
  const listen = (clientId: string, options: Partial<ConnectOptions> = {}) =>
    new Listener(clientId, { ...(webSocket && { webSocket }), ...options });

  test('receives the exact payloads', async () => {
    const clientId = `exact ${via} +/{}`;
    const listener = listen(clientId);
    await listener.untilConnected();
    expect(listener.state).toEqual({ type: 'connected', via });
    const texts = ['', 'a\nb\r\nc\rd\n', '日本語 🦈\0'];
    for (const text of texts) await running.push.push(clientId, text, LIVE);
    await running.untilCaughtUp();
    const json = { contentType: 'application/json' };
    const { messageId, verdict } = await running.push.push(clientId, '{"a":1}', json);
    expect(verdict).toBe('WRITTEN');
    await running.push.push(clientId, Buffer.from('ff00', 'hex'), LIVE);
    await eventually(() => listener.pushes.length === 5);
    expect(listener.pushes).toEqual([
      ...texts.map((data) => ({ data })),
      { id: messageId, data: '{"a":1}', ...json },
      { data: Uint8Array.of(255, 0) },
    ]);
  });

  test('receives the pushes sent while its edge was down', async () => {
    const clientId = await running.clientIdOf('edge-2', `killed-${via}`);
    const listener = listen(clientId);
    await listener.untilConnected();
    await running.push.push(clientId, 'before');
    await eventually(() => listener.data.includes('before'));
    await running.cluster.kill('edge-2');
    const away = ['away 1', 'away 2'];
    for (const text of away) await running.push.push(clientId, text, NO_ANSWER);
    await eventually(() => listener.data.includes('away 2'));
    await running.untilReady();
    await running.untilCaughtUp();
    expect((await running.push.push(clientId, 'after')).verdict).toBe('WRITTEN');
    await eventually(() => listener.data.includes('after'));
    expect(listener.data).toEqual(['before', ...away, 'after']);
    expect(listener.gaps).toBe(0);
  });

  test('connects to the edge named by the GOAWAY of a drained edge', async () => {
    const clientId = await running.clientIdOf('edge-1', `drained-${via}`);
    const listener = listen(clientId);
    await listener.untilConnected();
    const moving = await drainWithPushes('edge-1', clientId);
    await eventually(() => listener.data.includes(moving.at(-1)));
    expect(listener.data).toEqual(moving);
    const waits = listener.states.filter(({ type }) => type === 'waiting');
    expect(waits).toEqual([
      { type: 'waiting', retryMs: expect.any(Number), code: 'GOAWAY', reason: 'goaway' },
    ]);
    await running.undrain('edge-1');
    await running.stopMoves();
  });

  test('stops when another connection with its clientId replaces it', async () => {
    const clientId = `twice-${via}`;
    const older = listen(clientId);
    await older.untilConnected();
    const newer = listen(clientId);
    await eventually(() => older.state?.type === 'closed');
    expect(older.state).toEqual({ type: 'closed', reason: 'session-replaced' });
    await newer.untilConnected();
    expect((await running.push.push(clientId, 'to the newer', LIVE)).verdict).toBe('WRITTEN');
    await eventually(() => newer.data.includes('to the newer'));
    expect(older.data).toEqual([]);
    expect(await edgesOf(clientId)).toHaveLength(1);
  });

  test('reconnects when a backend disconnects it', async () => {
    const clientId = `disconnected-${via}`;
    const listener = listen(clientId);
    await listener.untilConnected();
    await running.push.disconnect(clientId);
    await eventually(() => listener.states.length > 2);
    await listener.untilConnected();
    await running.untilCaughtUp();
    expect((await running.push.push(clientId, 'again')).verdict).toBe('WRITTEN');
  });

  test('receives a push again when the application fails to take it, then confirms it', async () => {
    const clientId = `failing-${via}`;
    const calls: unknown[] = [];
    const errors: unknown[] = [];
    const listener = listen(clientId, {
      onPush: async ({ data }) => {
        calls.push(data);
        if (data === 'poison' && calls.length < 4) throw new Error(`failure ${calls.length - 1}`);
      },
      onError: (error) => errors.push(String(error)),
    });
    await listener.untilConnected();
    await running.push.push(clientId, 'good');
    await eventually(() => calls.length === 1);
    await running.push.push(clientId, 'poison', NO_ANSWER);
    await running.push.push(clientId, 'behind it', NO_ANSWER);
    await eventually(() => calls.includes('behind it'));
    expect(calls).toEqual(['good', 'poison', 'poison', 'poison', 'behind it']);
    expect(errors).toEqual(['Error: failure 1', 'Error: failure 2']);
    const failures = listener.states.flatMap((state) =>
      state.type === 'waiting' && state.code === 'PUSH_FAILED' ? [state.attempts] : [],
    );
    expect(failures).toEqual([1, 2]);
    // Nothing is delivered again to a client without a cursor that follows.
    listener.client.close();
    if (via === 'stream') return;
    await eventually(async () => (await edgesOf(clientId)).length === 0);
    const next = listen(clientId);
    await next.untilConnected();
    await running.untilCaughtUp();
    expect((await running.push.push(clientId, 'the next')).verdict).toBe('WRITTEN');
    await eventually(() => next.data.includes('the next'));
    expect(next.data).toEqual(['the next']);
  });

  test('reports a gap when missed pushes have expired', async () => {
    const clientId = `gap-${via}`;
    const first = listen(clientId);
    await first.untilConnected();
    const { messageId } = await running.push.push(clientId, 'seen');
    await eventually(() => first.data.includes('seen'));
    first.client.close();
    await eventually(async () => (await edgesOf(clientId)).length === 0);
    const ttlMs = 300;
    await running.push.push(clientId, 'short-lived', { ttlMs, ...NO_ANSWER });
    const goneAtMs = Date.now() + 2 * ttlMs;
    await eventually(() => Date.now() > goneAtMs);
    await running.push.push(clientId, 'kept', NO_ANSWER);
    const second = listen(clientId, { lastEventId: messageId });
    await eventually(() => second.data.includes('kept'));
    expect(second.gaps).toBe(1);
    expect(second.data).toEqual(['kept']);
    // No gap for a client that resumes after the newest push.
    const third = listen(clientId, { lastEventId: second.pushes[0]!.id! });
    await third.untilConnected();
    await running.untilCaughtUp();
    expect((await running.push.push(clientId, 'more')).verdict).toBe('WRITTEN');
    await eventually(() => third.data.includes('more'));
    expect([third.data, third.gaps]).toEqual([['more'], 0]);
  });
});

test('over a WebSocket, received pushes are confirmed at once', async () => {
  const listener = new Listener('confirming', { webSocket: WebSocket });
  await listener.untilConnected();
  const { WAIT_FOR_ACKED: waitFor } = WaitFor;
  const { verdict, messageId } = await running.push.push('confirming', 'to be confirmed', {
    waitFor,
  });
  expect(verdict).toBe('ACKED');
  expect(listener.pushes).toEqual([{ id: messageId, data: 'to be confirmed' }]);
  // So a client without a cursor does not receive them again.
  listener.client.close();
  const next = new Listener('confirming', { webSocket: WebSocket });
  await next.untilConnected();
  await running.push.push('confirming', 'the next', { waitFor });
  expect(next.data).toEqual(['the next']);
});

test('a push whose promise is pending is not confirmed, and is delivered again after the close', async () => {
  const pending = new Listener('pending', {
    webSocket: WebSocket,
    onPush: ({ data }) => (data === 'taken' ? undefined : new Promise(() => {})),
  });
  await pending.untilConnected();
  const { WAIT_FOR_ACKED: waitFor } = WaitFor;
  expect((await running.push.push('pending', 'taken', { waitFor })).verdict).toBe('ACKED');
  const { verdict } = await running.push.push('pending', 'pending', { waitFor, waitMs: 1_000 });
  expect(verdict).not.toBe('ACKED');
  pending.client.close();
  const next = new Listener('pending', { webSocket: WebSocket });
  await eventually(() => next.data.length > 0);
  expect(next.data).toEqual(['pending']);
});

test('a URL that is no router closes the client with a code', async () => {
  const { routerUrl, controlUrl } = running.cluster;
  const lookup = await fetch(`${routerUrl}/connect?clientId=lost`, {
    headers: { accept: 'application/json' },
  });
  const edgeUrl = new URL(((await lookup.json()) as { url: string }).url).origin;
  const codes: unknown[] = [];
  for (const router of [edgeUrl, controlUrl, `${routerUrl}/v9`]) {
    const listener = new Listener('lost', { router });
    await eventually(() => listener.state?.type === 'closed');
    codes.push(listener.state);
  }
  const rejected = { type: 'closed', reason: 'rejected', message: expect.any(String) };
  expect(codes).toEqual([
    { ...rejected, code: 'NOT_A_ROUTER' },
    { ...rejected, code: 'NOT_FOUND' },
    { ...rejected, code: 'NOT_FOUND' },
  ]);
});

describe('in a page of Chromium', () => {
  const testHere = testWith(CHROMIUM);
  let browser: Browser | undefined;
  let pages: Server;

  beforeAll(async () => {
    if (testHere === test.skip) return;
    // Serves the files named by `exports` of package.json, as any static server would.
    pages = createServer(({ url = '' }, response) => {
      const isScript = extname(url) === '.js';
      response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
      response.end(
        isScript
          ? readFileSync(join(packageRoot, 'client/dist', url))
          : '<!doctype html><title>A page of another origin</title>',
      );
    }).listen(0, '127.0.0.1');
    await once(pages, 'listening');
    browser = await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGS });
  });

  afterAll(async () => {
    await browser?.close();
    pages?.close();
  });

  /** A page that records the callbacks of its client. */
  async function openPage(
    clientId: string,
    via: string,
    { onReplaced = 'close', context }: { onReplaced?: string; context?: BrowserContext } = {},
  ): Promise<Page> {
    const page = await (context ?? browser!).newPage();
    await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`);
    const options = JSON.stringify({ router: running.cluster.routerUrl, clientId, onReplaced });
    // A string, because an instrumented function would not run in the page.
    await page.evaluate(`(async () => {
      if (${JSON.stringify(via)} === 'stream') delete globalThis.WebSocket;
      globalThis.got = [];
      globalThis.states = [];
      const { connect } = await import('/connect.js');
      globalThis.client = connect({
        ...${options},
        onPush: ({ id, data }) => got.push({ id, data: String(data) }),
        onGap: () => got.push({ data: 'gap' }),
        onState: (state) => states.push(state),
      });
    })()`);
    return page;
  }

  testHere.each(VIAS.map(([via]) => [via]))(
    'misses no push during an edge restart and a drain, over a %s',
    async (via) => {
      const clientId = await running.clientIdOf('edge-1', `page-${via}`);
      const page = await openPage(clientId, via);
      const data = async () => (await page.evaluate('got.map(({ data }) => data)')) as string[];
      await eventually(
        async () => (await running.push.push(clientId, 'first', LIVE)).verdict === 'WRITTEN',
      );
      await eventually(async () => (await data()).includes('first'));
      expect(await page.evaluate('states.at(-1)')).toEqual({ type: 'connected', via });
      await running.cluster.kill('edge-1');
      await running.push.push(clientId, 'while away', NO_ANSWER);
      await eventually(async () => (await data()).includes('while away'));
      await running.untilReady();
      const moving = await drainWithPushes('edge-1', clientId);
      await eventually(async () => (await data()).includes(moving.at(-1)!));
      expect(await data()).toEqual(['first', 'while away', ...moving]);
      await running.undrain('edge-1');
      await page.evaluate('client.close()');
      await eventually(async () => (await edgesOf(clientId)).length === 0);
      await page.close();
    },
  );

  testHere.each(VIAS.map(([via]) => [via]))(
    'shows a stream of tokens whole although it is reloaded in the middle, over a %s',
    async (via) => {
      const clientId = `tokens-${via}`;
      const appendTo = 'answer';
      const tokens = Array.from({ length: 120 }, (_, i) => `token${i} é—𝄞 `);
      const send = async (from: number, to: number) => {
        for (const [i, token] of tokens.slice(from, to).entries()) {
          const appendEnd = from + i === tokens.length - 1;
          const options = { appendTo, appendEnd, waitFor: WaitFor.WAIT_FOR_STORED };
          await running.push.push(clientId, token, options);
        }
      };
      const page = await browser!.newPage();
      /** The application keeps the text and the id up to which it has it, as a page would. */
      const show = async () => {
        await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`);
        await page.evaluate(`(async () => {
          if (${JSON.stringify(via)} === 'stream') delete globalThis.WebSocket;
          globalThis.calls = globalThis.gaps = 0;
          const { connect } = await import('/connect.js');
          globalThis.client = connect({
            router: ${JSON.stringify(running.cluster.routerUrl)},
            clientId: ${JSON.stringify(clientId)},
            lastEventId: sessionStorage.id ?? '',
            onPush: ({ id, data, appended }) => {
              calls++;
              const text = appended.offset === 0 ? '' : sessionStorage.text;
              if (new Blob([text]).size !== appended.offset) gaps++;
              sessionStorage.text = document.body.textContent = text + data;
              sessionStorage.id = id;
              if (appended.isEnd) document.title = 'complete';
            },
            onGap: () => gaps++,
          });
        })()`);
      };
      const text = () => page.evaluate('document.body.textContent');
      await show();
      await send(0, 40);
      await eventually(async () => (await text()) === tokens.slice(0, 40).join(''));
      await page.goto('about:blank');
      await send(40, 100);
      await show();
      await eventually(async () => (await text()) === tokens.slice(0, 100).join(''));
      // The missed tokens came at once; perhaps the last token before the reload was not confirmed.
      expect(await page.evaluate('calls')).toBe(1);
      await send(100, 120);
      await eventually(async () => (await page.title()) === 'complete');
      expect(await text()).toBe(tokens.join(''));
      expect(await page.evaluate('gaps')).toBe(0);
      await page.close();
    },
  );

  testHere('takes over again when the tab that replaced it closes, without turns', async () => {
    const context = await browser!.newContext();
    const options = { onReplaced: 'wait', context };
    const stateOf = (page: Page) => page.evaluate('states.at(-1).type');
    const isIn = (page: Page, type: string) => async () => (await stateOf(page)) === type;
    const first = await openPage('tabs', 'websocket', options);
    await eventually(isIn(first, 'connected'));
    const second = await openPage('tabs', 'websocket', options);
    await eventually(isIn(first, 'standby'));
    const third = await openPage('tabs', 'websocket', options);
    await eventually(isIn(second, 'standby'));
    await eventually(isIn(third, 'connected'));
    expect(await stateOf(first)).toBe('standby');
    await third.close();
    await eventually(isIn(first, 'connected'));
    expect(await stateOf(second)).toBe('standby');
    await running.untilCaughtUp();
    await running.push.push('tabs', 'to the first');
    await eventually(async () => (await first.evaluate('got.length')) === 2);
    expect(await first.evaluate('got.map(({ data }) => data)')).toEqual(['gap', 'to the first']);
    await first.evaluate('client.close()');
    await eventually(isIn(second, 'connected'));
    // A connection outside this browser: the tab ends, and does not replace it in turn.
    const outside = new Listener('tabs', { webSocket: WebSocket });
    await eventually(isIn(second, 'closed'));
    await outside.untilConnected();
    expect(await second.evaluate('states.at(-1)')).toEqual({
      type: 'closed',
      reason: 'session-replaced',
    });
    expect(await edgesOf('tabs')).toHaveLength(1);
    await context.close();
    expect(outside.state?.type).toBe('connected');
  });
});

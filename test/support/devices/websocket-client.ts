/**
 * Third-party WebSocket clients behind one interface: `ws`, Node's built-in client, Python's
 * `websockets`, and a browser.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import WebSocket from 'ws';
import { readLines } from '../../../cli/local/lines.js';
import { eventually } from '../eventually.js';
import { PYTHON_PATH } from './system-clients.js';

export interface Received {
  readonly kind: 'text' | 'binary';
  readonly payload: Buffer;
}

interface Closed {
  readonly code: number;
  readonly reason: string;
}

/** An event of a client process, one JSON line each. */
type ClientEvent =
  | { readonly type: 'open'; readonly protocol: string }
  | { readonly type: 'message'; readonly text?: string; readonly base64?: string }
  | ({ readonly type: 'close' } & Closed);

export class WebSocketClient {
  /** Negotiated subprotocol, '' for none; undefined until the connection is open. */
  protocol: string | undefined;
  readonly received: Received[] = [];
  closed: Closed | undefined;

  /** @param end ends the client without a close frame */
  constructor(
    readonly send: (text: string) => Promise<void>,
    readonly end: () => Promise<void>,
  ) {}

  handle(event: ClientEvent): void {
    if (event.type === 'open') this.protocol = event.protocol;
    else if (event.type === 'close') this.closed = event;
    else if (event.text !== undefined) {
      this.received.push({ kind: 'text', payload: Buffer.from(event.text) });
    } else {
      this.received.push({ kind: 'binary', payload: Buffer.from(event.base64!, 'base64') });
    }
  }

  /** Received messages of the subprotocol `longline.json`. */
  get envelopes(): Record<string, unknown>[] {
    return this.received.map(({ payload }) => JSON.parse(payload.toString()));
  }

  async untilOpen(): Promise<this> {
    await eventually(() => this.protocol !== undefined);
    return this;
  }

  async untilReceived(count: number): Promise<void> {
    await eventually(() => {
      if (this.received.length >= count) return true;
      throw new Error(`received ${this.received.length} of ${count} messages`);
    });
  }

  async untilClosed(): Promise<Closed> {
    await eventually(() => this.closed !== undefined);
    return this.closed!;
  }
}

/** Opens a WebSocket with one kind of client. The URL may start with `http:`. */
export type OpenWebSocket = (url: string, ...subprotocols: string[]) => Promise<WebSocketClient>;

export const openWs: OpenWebSocket = (url, ...subprotocols) => {
  const socket = new WebSocket(asWs(url), subprotocols, { rejectUnauthorized: false });
  const client = new WebSocketClient(
    async (text) => socket.send(text),
    async () => socket.terminate(),
  );
  socket.on('open', () => client.handle({ type: 'open', protocol: socket.protocol }));
  socket.on('message', (data: Buffer, isBinary) => {
    client.received.push({ kind: isBinary ? 'binary' : 'text', payload: data });
  });
  socket.on('error', () => {});
  socket.on('close', (code, reason) => {
    client.handle({ type: 'close', code, reason: reason.toString() });
  });
  return client.untilOpen();
};

export const openNodeWebSocket: OpenWebSocket = (url, ...subprotocols) =>
  openProcess(
    process.execPath,
    ['--experimental-websocket', '--no-warnings', script('websocket-node.mjs')],
    [asWs(url), ...subprotocols],
  );

export const openPythonWebSocket: OpenWebSocket = (url, ...subprotocols) =>
  openProcess(PYTHON_PATH, [script('websocket-python.py')], [asWs(url), ...subprotocols]);

/** Opens it in a page of a browser, whose origin it has. */
export function openBrowserWebSocket(newPage: () => Promise<Page>): OpenWebSocket {
  return async (url, ...subprotocols) => {
    const page = await newPage();
    const client = new WebSocketClient(
      (text) => page.evaluate(`socket.send(${JSON.stringify(text)})`),
      () => page.close(),
    );
    await page.exposeFunction('say', (event: ClientEvent) => client.handle(event));
    // A string, because an instrumented function would not run in the page.
    await page.evaluate(`
      globalThis.socket = new WebSocket(...${JSON.stringify([asWs(url), subprotocols])});
      socket.binaryType = 'arraybuffer';
      socket.onopen = () => say({ type: 'open', protocol: socket.protocol });
      socket.onclose = ({ code, reason }) => say({ type: 'close', code, reason });
      socket.onmessage = ({ data }) => {
        if (typeof data === 'string') return say({ type: 'message', text: data });
        const bytes = Array.from(new Uint8Array(data), (byte) => String.fromCharCode(byte));
        say({ type: 'message', base64: btoa(bytes.join('')) });
      };
    `);
    return client.untilOpen();
  };
}

function openProcess(
  command: string,
  args: readonly string[],
  more: readonly string[],
): Promise<WebSocketClient> {
  const child = spawn(command, [...args, ...more], { stdio: ['pipe', 'pipe', 'inherit'] });
  const client = new WebSocketClient(
    (text) => new Promise((resolve) => child.stdin.write(`${text}\n`, () => resolve())),
    () => ended(child),
  );
  child.stdin.on('error', () => {});
  readLines(child.stdout, (line) => client.handle(JSON.parse(line)));
  return client.untilOpen();
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });
}

function script(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

function asWs(url: string): string {
  return url.replace(/^http/, 'ws');
}

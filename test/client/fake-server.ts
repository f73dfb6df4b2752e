/** One HTTP server that is both router and edge, and a WebSocket whose events the test triggers. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type Client,
  type ClientState,
  type ConnectOptions,
  connect,
  type Push,
} from '../../client/connect.js';
import type { WebSocketLike } from '../../client/web-socket.js';
import { eventually } from '../support/eventually.js';

// Node.js has one from release 22 on. Tests that want a WebSocket pass it.
Reflect.deleteProperty(globalThis, 'WebSocket');

class FakeServer {
  #server!: Server;
  /** URL of the server, as router and as edge. */
  url = '';
  /** Requests to the edge and their responses, oldest first. */
  streams: { request: IncomingMessage; response: ServerResponse }[] = [];
  lookUps: IncomingMessage[] = [];
  /** Replaces the response to a lookup. */
  respondToLookUp: ((response: ServerResponse) => void) | undefined;
  /** Appended to the URL of the edge. */
  ticket = '';
  received: Push[] = [];
  states: ClientState[] = [];
  gaps = 0;

  async open(): Promise<void> {
    this.streams = [];
    this.lookUps = [];
    this.respondToLookUp = undefined;
    this.ticket = '';
    this.received = [];
    this.states = [];
    this.gaps = 0;
    FakeWebSocket.all = [];
    this.#server = createServer((request, response) => {
      if (request.headers.accept !== 'application/json') {
        this.streams.push({ request, response });
        return;
      }
      this.lookUps.push(request);
      if (this.respondToLookUp !== undefined) return this.respondToLookUp(response);
      response.end(JSON.stringify({ url: `${this.url}${request.url}&epoch=1-5${this.ticket}` }));
    }).listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    for (const client of clients.splice(0)) client.close();
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

export const fake = new FakeServer();
/** Closed after each test. */
export const clients: Client[] = [];

export function start(options: Partial<ConnectOptions> = {}): Client {
  const client = connect({
    router: fake.url,
    clientId: 'al ice+1',
    onPush: (push) => fake.received.push(push),
    onGap: () => fake.gaps++,
    onState: (state) => fake.states.push(state),
    ...options,
  });
  clients.push(client);
  return client;
}

export const line = (message: object) => `${JSON.stringify(message)}\n`;
export const WELCOME = line({ type: 'welcome', clientId: 'a', heartbeatMs: 15_000 });
export const typesOf = () => fake.states.map(({ type }) => type);

/** Waits for the `count`th request to the edge and writes the welcome. */
export async function stream(count: number, welcome = WELCOME) {
  await eventually(() => fake.streams.length === count);
  const { request, response } = fake.streams[count - 1]!;
  response.write(welcome);
  return { request, response };
}

/** WebSocket whose events the test triggers. */
export class FakeWebSocket implements WebSocketLike {
  static all: FakeWebSocket[] = [];
  onmessage: unknown;
  onclose: unknown;
  onerror: unknown;
  readonly sent: string[] = [];
  isClosed = false;

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeWebSocket.all.push(this);
  }

  send(text: string): void {
    this.sent.push(text);
  }

  close(): void {
    this.isClosed = true;
  }

  receive(message: object): void {
    (this.onmessage as (event: { data: unknown }) => void)({ data: JSON.stringify(message) });
  }

  end(code: number): void {
    (this.onclose as (event: { code: number; reason: string }) => void)({ code, reason: '' });
  }
}

export async function socket(count: number): Promise<FakeWebSocket> {
  await eventually(() => FakeWebSocket.all.length === count);
  const last = FakeWebSocket.all[count - 1]!;
  last.receive({ type: 'welcome', clientId: 'a', heartbeatMs: 15_000, ticket: `ticket-${count}` });
  return last;
}

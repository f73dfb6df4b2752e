/** The Push API over HTTP with a pusher that answers when the test says so. */
import { connect, type Socket } from 'node:net';
import { hashToken } from '../../../../common/auth/tokens.js';
import { type Rejection, rejection } from '../../../../common/process/errors.js';
import { createLogger } from '../../../../common/process/log.js';
import { Metrics } from '../../../../common/process/metrics.js';
import {
  AcceptLevel,
  type PushRequest,
  type PushResponse,
  type PushUserRequest,
  type PushUserResponse,
  Verdict,
} from '../../../../proto/gen/longline/v1/push.js';
import { Backends } from '../../../../router/push/backends.js';
import type { Memberships } from '../../../../router/push/groups/memberships.js';
import { PushHttp } from '../../../../router/push/http/push-http.js';
import type { ShardGroups } from '../../../../router/push/many/shard-groups.js';
import { PushApi } from '../../../../router/push/operations.js';
import { rejectPush } from '../../../../router/push/push-check.js';
import type { Pusher } from '../../../../router/push/pusher.js';
import type { Users } from '../../../../router/push/users.js';

export const PAYLOAD_BYTES_MAX = 1024 * 1024;
export const CONNECTIONS_MAX = 20;
export const PUSH_TOKEN = 'push-token-0123456789';
export const READ_TOKEN = 'read-token-0123456789';

const stored: PushResponse = {
  verdict: Verdict.VERDICT_STORED,
  messageId: '1-0',
  acceptLevel: AcceptLevel.ACCEPT_LEVEL_ACCEPTED,
  replacedId: '',
  flightRecord: undefined,
};

export const connection = (remoteAddress: string) => ({
  clientId: 'a',
  edgeId: 'edge-1',
  connectedAtMs: 5,
  protocol: 'sse',
  remoteAddress,
  guest: false,
  connectedForMs: 7,
});

export interface RawConnection {
  readonly socket: Socket;
  text(): string;
  closed(): boolean;
}

export class TestRouter {
  readonly stopping = new AbortController();
  readonly metrics = new Metrics();
  /** The pushes that were begun. */
  readonly begun: PushRequest[] = [];
  /** Answers of pushes that wait; undefined: pushes are answered at once. */
  answers: (() => void)[] | undefined;
  hasMemory = true;
  port = 0;
  readonly server: PushHttp;
  readonly #sockets: Socket[] = [];

  private constructor(hasTokens: boolean) {
    const tokens = [
      { name: 'pusher', scopes: new Set(['push'] as const), sha256: hashToken(PUSH_TOKEN) },
      { name: 'reader', scopes: new Set(['presence'] as const), sha256: hashToken(READ_TOKEN) },
    ];
    const config = { tokens: hasTokens ? tokens : [], tokensFile: undefined, certificates: [] };
    const api = new PushApi({
      pusher: this.#pusher(),
      groups: {} as ShardGroups,
      users: this.#users(),
      memberships: {} as Memberships,
      backends: new Backends(config, undefined, this.metrics),
      log: createLogger('router', 'test', 'silent'),
      stopping: this.stopping.signal,
    });
    this.server = new PushHttp({
      api,
      config: { port: 0, connectionsMax: CONNECTIONS_MAX, connectionAgeMsMax: 0 },
      payloadBytesMax: PAYLOAD_BYTES_MAX,
      streamBytesMax: 1_000_000,
      tlsServer: undefined,
      memory: { reserve: () => this.hasMemory, release: () => {} },
      metrics: this.metrics,
    });
  }

  static async start(hasTokens = false): Promise<TestRouter> {
    const router = new TestRouter(hasTokens);
    router.port = await router.server.listen('127.0.0.1');
    return router;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await this.server.stop(0);
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.port}${path}`;
  }

  /** @param body text and bytes are sent as they are */
  async post(path: string, body: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(this.url(path), {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
    });
    const { status } = response;
    return { status, headers: response.headers, body: JSON.parse(await response.text()) };
  }

  /** Opens a connection and collects what it receives. */
  open(): RawConnection {
    const socket = connect(this.port, '127.0.0.1');
    this.#sockets.push(socket);
    let text = '';
    let isClosed = false;
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1');
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      isClosed = true;
    });
    return { socket, text: () => text, closed: () => isClosed };
  }

  /** The value of a metric with these labels. */
  async metric(name: string, labels = ''): Promise<number> {
    const text = await this.metrics.registry.getSingleMetricAsString(name);
    const line = text.split('\n').find((each) => each.startsWith(`${name}${labels} `));
    return Number(line?.split(' ')[1] ?? 0);
  }

  /** Every user has a phone, which gets the push, and a tablet, which does not. */
  #users(): Users {
    const users = {
      push: async ({ user }: PushUserRequest): Promise<PushUserResponse> => ({
        counts: [{ verdict: Verdict.VERDICT_STORED, count: 1 }],
        failed: 1,
        devices: [
          { clientId: `${user}/phone`, outcome: { $case: 'push', value: stored } },
          {
            clientId: `${user}/tablet`,
            outcome: { $case: 'failure', value: rejection('RATE_LIMITED', 'too many') },
          },
        ],
      }),
      presence: async () => ({ connections: [], complete: true }),
    };
    return users as unknown as Users;
  }

  #pusher(): Pusher {
    const limits = {
      payloadBytesMax: PAYLOAD_BYTES_MAX,
      ttlMaxMs: 60_000,
      inbox: { events: { countMax: 100, keepMs: 60_000 } },
    };
    const answer = () =>
      new Promise<PushResponse>((resolve) => {
        if (this.answers === undefined) resolve(stored);
        else this.answers.push(() => resolve(stored));
      });
    const pusher = {
      config: { waitMs: 100, payloadBytesMax: PAYLOAD_BYTES_MAX },
      push: async (request: PushRequest) => {
        const invalid = rejectPush(request, request.ttlMs ?? 1_000, limits);
        if (invalid !== undefined) return invalid;
        if (request.clientId === 'crash') throw new Error('boom');
        if (request.clientId === 'limited') return rejection('RATE_LIMITED', 'too many');
        this.begun.push(request);
        const response = await answer();
        return request.collapseKey === '' ? response : { ...response, replacedId: '0-1' };
      },
      presence: async (clientId: string) => ({
        connections: [connection(clientId)],
        complete: true,
      }),
      disconnect: async () => ({ closed: 1, complete: false }),
      rejected: (rejected: Rejection) => rejected,
    };
    return pusher as unknown as Pusher;
  }
}

export function requestText(body: string, headers = '', path = '/v1/push'): string {
  return (
    `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n${headers}` +
    `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
  );
}

export const pushText = (clientId: string) => requestText(`{"clientId":"${clientId}","payload":1}`);

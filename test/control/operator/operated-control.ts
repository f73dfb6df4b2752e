/** The operator API of a control with fake operations, over HTTP and gRPC. */

import { credentials, type ServiceError } from '@grpc/grpc-js';
import type { InboxSummary } from '../../../common/cluster/inbox/summary.js';
import { ShardNames } from '../../../common/cluster/shard-names.js';
import { listenHttp } from '../../../common/http/server.js';
import { bindGrpc, createGrpcServer } from '../../../common/process/grpc/grpc-server.js';
import { RedisNames } from '../../../common/redis/redis-names.js';
import type { EdgeRecord } from '../../../control/membership/edge-record.js';
import { createOperatorService } from '../../../control/operator/grpc-service.js';
import { addDashboard } from '../../../control/operator/http/dashboard.js';
import { addOperatorRoutes } from '../../../control/operator/http/http-api.js';
import {
  OperatorQueries,
  type Presence,
  type Snapshot,
} from '../../../control/operator/queries.js';
import {
  OperatorServiceClient,
  OperatorServiceService,
} from '../../../proto/gen/longline/v1/operator.js';
import { httpServerOf } from '../../support/http-server.js';
import { apiOf, FakeOperations, open, someInbox, sourcesOf } from './fake-operations.js';

const edgeOf = (id: string): EdgeRecord => ({
  id,
  incarnation: `${id}-i1`,
  advertisedUrl: `http://${id}:7000`,
  state: { type: 'alive', session: 1, leaseEndsAtMs: 20_000 },
  capacity: 100,
  zone: '',
  counts: undefined,
  heardAtMs: undefined,
});

export interface OperatedControl {
  readonly operations: FakeOperations;
  /** Input of the queries; tests change it. */
  readonly state: {
    snapshot: Snapshot;
    connections: Presence[];
    inbox: InboxSummary | undefined;
    ownedForMs: number | undefined;
  };
  channelOf(shard: number): string;
  readonly url: string;
  readonly grpc: OperatorServiceClient;
  /** Closes every connection. */
  cut(): void;
  /** Resolves when all requests have ended. */
  stop(): Promise<void>;
}

const IDS = ['edge-1', 'edge-2'];

/** @param port HTTP port; 0: any free port */
export async function startOperatedControl(access = open, port = 0): Promise<OperatedControl> {
  const operations = new FakeOperations();
  const state: OperatedControl['state'] = {
    snapshot: {
      assignment: {
        position: { incarnation: 1, epoch: 7 },
        edges: IDS.map((id) => ({ ...edgeOf(id), intent: 'none' })),
        owners: Uint16Array.of(0, 0, 1, 1),
        moves: [],
        isBalancing: false,
      },
      edges: IDS.map(edgeOf),
      leader: 'control-1',
    },
    connections: [],
    inbox: someInbox,
    ownedForMs: undefined,
  };
  const names = new ShardNames(new RedisNames(''), 4);
  const queries = new OperatorQueries(names, () => state.snapshot, {
    ...sourcesOf(async () => ({ connections: state.connections, complete: true })),
    summarizeInbox: async () => state.inbox,
    ownedForMs: () => state.ownedForMs,
  });
  const api = apiOf(queries, operations, access);
  const http = httpServerOf();
  addDashboard(http, access, undefined);
  addOperatorRoutes(http, api);
  const httpPort = await listenHttp(http, '127.0.0.1', port);
  const server = createGrpcServer([], {}).server;
  server.addService(OperatorServiceService, createOperatorService(api));
  const grpcPort = await bindGrpc(server, '127.0.0.1', 0);
  const grpc = new OperatorServiceClient(`127.0.0.1:${grpcPort}`, credentials.createInsecure());
  return {
    operations,
    state,
    channelOf: (shard) => names.channelOf(shard),
    url: `http://127.0.0.1:${httpPort}`,
    grpc,
    cut: () => http.server.closeAllConnections(),
    async stop() {
      grpc.close();
      server.forceShutdown();
      await http.close();
    },
  };
}

/** One unary call as a promise. */
export function call<Response>(
  start: (callback: (error: ServiceError | null, response: Response) => void) => unknown,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    start((error, response) => (error ? reject(error) : resolve(response)));
  });
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests read any field.
  readonly body: any;
}

/** @param body undefined: GET; a string: POST of that string; else: POST as JSON */
export async function ask(url: string, body?: unknown, headers = {}): Promise<HttpResponse> {
  const response = await fetch(url, {
    ...(body !== undefined && {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
    }),
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

/** The operator API of a control whose operations is a fake, over HTTP and gRPC. */
import { credentials, type ServiceError } from '@grpc/grpc-js';
import { bindGrpc, createGrpcServer } from '../../../common/process/grpc-server.js';
import { createHttpServer, listenHttp } from '../../../common/process/http-server.js';
import { Metrics } from '../../../common/process/metrics.js';
import type { EdgeRecord } from '../../../control/membership/membership.js';
import type { ClientAnswer } from '../../../control/operator/answers.js';
import { addOperatorRoutes } from '../../../control/operator/http.js';
import { OperatorQueries, type Snapshot } from '../../../control/operator/queries.js';
import { createOperatorService } from '../../../control/operator/service.js';
import {
  OperatorServiceClient,
  OperatorServiceService,
} from '../../../proto/gen/longline/v1/operator.js';
import { apiOf, FakeOperations, open } from './fake-operations.js';

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

export interface SteeredControl {
  readonly operations: FakeOperations;
  /** What control knows; to be changed by tests. */
  readonly world: { snapshot: Snapshot; connections: Presence[] };
  readonly url: string;
  readonly grpc: OperatorServiceClient;
  /** Every connection breaks. */
  cut(): void;
  /** Resolves when all requests have ended. */
  stop(): Promise<void>;
}

type Presence = ClientAnswer['connections'][number];

const IDS = ['edge-1', 'edge-2'];

/** @param port of HTTP; 0: any */
export async function startSteeredControl(access = open, port = 0): Promise<SteeredControl> {
  const operations = new FakeOperations();
  const world: SteeredControl['world'] = {
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
  };
  const queries = new OperatorQueries(
    4,
    () => world.snapshot,
    async () => ({ connections: world.connections, complete: true }),
  );
  const api = apiOf(queries, operations, access);
  const http = createHttpServer(new Metrics(), () => []);
  addOperatorRoutes(http, api);
  const httpPort = await listenHttp(http, '127.0.0.1', port);
  const server = createGrpcServer([], {}).server;
  server.addService(OperatorServiceService, createOperatorService(api));
  const grpcPort = await bindGrpc(server, '127.0.0.1', 0);
  const grpc = new OperatorServiceClient(`127.0.0.1:${grpcPort}`, credentials.createInsecure());
  return {
    operations,
    world,
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

export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: it is what the tests look at.
  readonly body: any;
}

/** @param body undefined: it is a GET; else a POST of it as JSON, or as it is if it is a string */
export async function ask(url: string, body?: unknown, headers = {}): Promise<Answered> {
  const response = await fetch(url, {
    ...(body !== undefined && {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
    }),
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

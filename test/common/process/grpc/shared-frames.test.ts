import { credentials, Server, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { bindGrpc } from '../../../../common/process/grpc/grpc-server.js';
import { shareFrames } from '../../../../common/process/grpc/shared-frames.js';
import {
  AssignmentServiceClient,
  AssignmentServiceService,
  type WatchResponse,
} from '../../../../proto/gen/longline/v1/assignment.js';

const { watch: WATCH } = AssignmentServiceService;
const SUSPECTS = { edges: [{ id: 'edge-1', incarnation: 'i1' }] };
const ASSIGNMENT = {
  position: { incarnation: 1, epoch: 7 },
  edges: [],
  owners: Array.from({ length: 16_384 }, (_, shard) => shard % 100),
  moves: [],
  balancing: false,
};

/** Messages that were encoded. */
const encoded: WatchResponse[] = [];
const server = new Server({
  interceptors: [shareFrames<WatchResponse>([WATCH.path], ({ assignment }) => assignment)],
});
let client: AssignmentServiceClient;

beforeAll(async () => {
  const definition = {
    ...AssignmentServiceService,
    watch: {
      ...WATCH,
      responseSerialize: (message: WatchResponse) => {
        encoded.push(message);
        return WATCH.responseSerialize(message);
      },
    },
  };
  const implementation: UntypedServiceImplementation = {
    watch(call: { write(message: unknown): void; end(): void }) {
      call.write({ assignment: ASSIGNMENT, suspects: undefined, delta: undefined });
      call.write({ assignment: undefined, suspects: SUSPECTS, delta: undefined });
      call.write({ assignment: ASSIGNMENT, suspects: undefined, delta: undefined });
      call.end();
    },
    reportClosedPort() {},
    reportLoad() {},
  };
  server.addService(definition, implementation);
  const port = await bindGrpc(server, '127.0.0.1', 0);
  client = new AssignmentServiceClient(`127.0.0.1:${port}`, credentials.createInsecure());
});

afterAll(() => {
  client.close();
  server.forceShutdown();
});

test('streams share the frame of a message, and each receives it whole', async () => {
  const received = await Promise.all([watch(), watch(), watch()]);
  for (const responses of received) {
    expect(responses.map(({ assignment }) => assignment)).toEqual([
      ASSIGNMENT,
      undefined,
      ASSIGNMENT,
    ]);
    expect(responses[1]!.suspects).toEqual(SUSPECTS);
  }
  expect(encoded.filter(({ assignment }) => assignment !== undefined)).toHaveLength(1);
  expect(encoded.filter(({ suspects }) => suspects !== undefined)).toHaveLength(3);
});

async function watch(): Promise<WatchResponse[]> {
  const responses: WatchResponse[] = [];
  const stream = client.watch({ have: undefined, acceptsDeltas: true });
  for await (const response of stream) responses.push(response as WatchResponse);
  return responses;
}

/** The router's link to a control that sends a delta which does not fit. */
import { credentials, Metadata, type Server, type ServerWritableStream } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { type Assignment, toWire } from '../../../common/cluster/assignment.js';
import { deltaBetween } from '../../../common/cluster/assignment-delta.js';
import { AssignmentFeed } from '../../../common/cluster/assignment-feed.js';
import { bindGrpc, createGrpcServer } from '../../../common/process/grpc/grpc-server.js';
import { Metrics } from '../../../common/process/metrics.js';
import {
  AssignmentServiceService,
  type WatchRequest,
  type WatchResponse,
} from '../../../proto/gen/longline/v1/assignment.js';
import { AssignmentLink } from '../../../router/lookup/assignment-link.js';
import { eventually } from '../../support/eventually.js';

type Call = ServerWritableStream<WatchRequest, WatchResponse>;

const SHARDS = 4;
const at = (epoch: number): Assignment => ({
  position: { incarnation: 1, epoch },
  edges: [{ id: 'a', incarnation: 'i', advertisedUrl: 'http://a:7000', intent: 'none' }],
  owners: new Uint16Array(SHARDS),
  moves: [],
  isBalancing: false,
});

let calls: Call[];
let server: Server;
let feed: AssignmentFeed;
let link: AssignmentLink;

beforeEach(async () => {
  calls = [];
  ({ server } = createGrpcServer([], {}));
  server.addService(AssignmentServiceService, {
    watch: (call: Call) => {
      calls.push(call);
      call.sendMetadata(new Metadata());
    },
  });
  feed = new AssignmentFeed(() => {}, new Metrics(), 'router');
  link = new AssignmentLink({
    addresses: [`127.0.0.1:${await bindGrpc(server, '127.0.0.1', 0)}`],
    credentials: credentials.createInsecure(),
    metadata: new Metadata(),
    feed,
    shardCount: SHARDS,
    log: pino({ level: 'silent' }),
  });
  await eventually(() => calls.length === 1);
});
afterEach(() => {
  link.close();
  server.forceShutdown();
});

const send = (call: Call, update: Pick<WatchResponse, 'assignment' | 'delta'>) =>
  call.write({ suspects: undefined, ...update });

test('watches anew for the whole after a delta that does not fit, and then follows deltas', async () => {
  expect(calls[0]!.request).toMatchObject({ have: { epoch: 0 }, acceptsDeltas: true });
  send(calls[0]!, { assignment: toWire(at(3)), delta: undefined });
  send(calls[0]!, { assignment: undefined, delta: deltaBetween(at(4), at(5)) });
  await eventually(() => calls.length === 2);
  expect(feed.position.epoch).toBe(3);
  expect(calls[1]!.request.have).toEqual({ incarnation: 0, epoch: 0 });
  send(calls[1]!, { assignment: toWire(at(5)), delta: undefined });
  send(calls[1]!, { assignment: undefined, delta: deltaBetween(at(5), at(6)) });
  await eventually(() => expect(feed.current).toEqual(at(6)));
  calls[1]!.end();
  await eventually(() => calls.length === 3);
  expect(calls[2]!.request.have).toEqual({ incarnation: 1, epoch: 6 });
});

/** The edge's session with a control whose messages the test chooses. */
import { credentials, Metadata, type Server, type ServerDuplexStream } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { type Assignment, type Move, toWire } from '../../../common/cluster/assignment.js';
import { deltaBetween } from '../../../common/cluster/assignment-delta.js';
import { AssignmentFeed } from '../../../common/cluster/assignment-feed.js';
import { bindGrpc, createGrpcServer } from '../../../common/process/grpc/grpc-server.js';
import { Metrics } from '../../../common/process/metrics.js';
import { ControlLink } from '../../../edge/report/control-link.js';
import {
  ClientScan,
  EdgeSessionServiceService,
  Hello,
  type SessionRequest,
  type SessionResponse,
  Stats,
} from '../../../proto/gen/longline/v1/edge_session.js';
import { eventually } from '../../support/eventually.js';

type Call = ServerDuplexStream<SessionRequest, SessionResponse>;

const SHARDS = 4;
/** An encoded message with the default of every field. */
const NOTHING = new Uint8Array();
const at = (epoch: number, moves: Move[] = []): Assignment => ({
  position: { incarnation: 1, epoch },
  edges: ['a', 'b'].map((id) => {
    return { id, incarnation: 'i', advertisedUrl: `http://${id}:7000`, intent: 'none' as const };
  }),
  owners: new Uint16Array(SHARDS),
  moves,
  isBalancing: false,
});

let requests: SessionRequest['body'][];
let call: Call | undefined;
let server: Server;
let feed: AssignmentFeed;
let link: ControlLink;

beforeEach(async () => {
  requests = [];
  call = undefined;
  ({ server } = createGrpcServer([], {}));
  server.addService(EdgeSessionServiceService, {
    session: (opened: Call) => {
      opened.on('data', ({ body }: SessionRequest) => requests.push(body));
      opened.on('error', () => {});
      opened.sendMetadata(new Metadata());
      call = opened;
    },
  });
  feed = new AssignmentFeed(() => {}, new Metrics(), 'edge');
  const options = {
    addresses: [`127.0.0.1:${await bindGrpc(server, '127.0.0.1', 0)}`],
    credentials: credentials.createInsecure(),
    metadata: new Metadata(),
    feed,
    hello: () => ({ ...Hello.decode(NOTHING), edgeId: 'b', shardCount: SHARDS }),
    scanClients: ({ scanId }: ClientScan) => ({
      scanId,
      clients: [],
      nextSlot: 7,
      disconnected: 3,
    }),
    measure: () => ({ ...Stats.decode(NOTHING), measuredUnder: feed.position }),
    log: pino({ level: 'silent' }),
  };
  link = new ControlLink(options);
  await eventually(() => requests.length === 2);
});
afterEach(() => {
  link.close();
  server.forceShutdown();
});

const send = (update: Pick<SessionResponse, 'assignment' | 'delta'>) =>
  call!.write({ pace: undefined, clientScan: undefined, ...update });
const kinds = () => requests.map((body) => body?.$case);

test('asks for the whole within its session when a delta does not fit', async () => {
  expect(kinds()).toEqual(['hello', 'stats']);
  send({ assignment: toWire(at(1)), delta: undefined });
  send({ assignment: undefined, delta: deltaBetween(at(1), at(2)) });
  await eventually(() => expect(feed.position.epoch).toBe(2));
  expect(kinds()).not.toContain('resendAssignment');
  send({ assignment: undefined, delta: deltaBetween(at(3), at(4)) });
  await eventually(() => expect(kinds()).toContain('resendAssignment'));
  send({ assignment: toWire(at(4)), delta: undefined });
  await eventually(() => expect(feed.current).toEqual(at(4)));
});

test('reports soon under an assignment in which it has a part of a move', async () => {
  send({ assignment: toWire(at(1)), delta: undefined });
  const move: Move = { shard: 1, from: 'a', to: 'b', phase: 'acquiring' };
  send({ assignment: undefined, delta: deltaBetween(at(1), at(2, [move])) });
  const reported = () =>
    requests.flatMap((body) => (body?.$case === 'stats' ? [body.value.measuredUnder!.epoch] : []));
  await eventually(() => expect(reported()).toContain(2));
});

test('answers a scan of its clients', async () => {
  const clientScan = { ...ClientScan.decode(NOTHING), scanId: 5 };
  call!.write({ assignment: undefined, delta: undefined, pace: undefined, clientScan });
  await eventually(() =>
    expect(requests).toContainEqual({
      $case: 'clientScanResult',
      value: { scanId: 5, clients: [], nextSlot: 7, disconnected: 3 },
    }),
  );
});

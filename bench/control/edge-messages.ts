/** Messages of simulated edges to control. */
import { type Assignment, shardsOf } from '../../common/cluster/assignment.js';
import type { Position } from '../../common/wire/position.js';
import {
  EdgeSessionServiceService,
  type SessionRequest,
} from '../../proto/gen/longline/v1/edge_session.js';

const CONNECTIONS_PER_SHARD = 10;
/** As many parts as the memory of a real edge has. */
const MEMORY_PARTS = ['runtime', 'heap', 'table', 'slots', 'buffers', 'sockets', 'tcp', 'other'];

export interface SimulatedHello {
  readonly id: string;
  readonly capacity: number;
  readonly shardCount: number;
  /** Its port for devices on this machine. */
  readonly port: number;
  readonly have?: Position | undefined;
}

export function encodeHello({ id, capacity, shardCount, port, have }: SimulatedHello): Buffer {
  const hello = {
    edgeId: id,
    incarnation: 'i1',
    advertisedUrl: `http://127.0.0.1:${port}`,
    capacity,
    shardCount,
    have,
    zone: '',
    acceptsDeltas: true,
    build: { version: '0.2.0', commit: '1a2b3c4d5e' },
    settings: {},
  };
  return encode({ $case: 'hello', value: hello });
}

/** The report of an edge that has done its part of every move. */
export function encodeReport(current: Assignment | undefined, id: string): Buffer {
  const shards = current === undefined ? [] : shardsOf(current, id);
  const movesOf = (phase: string, end: 'from' | 'to') =>
    (current?.moves ?? [])
      .filter((move) => move.phase === phase && move[end] === id)
      .map(({ shard }) => shard);
  const stats = {
    measuredUnder: current?.position,
    loads: {
      shards,
      connections: shards.map(() => CONNECTIONS_PER_SHARD),
      messagesPer1000Seconds: shards.map(() => 1_000),
    },
    connections: shards.length * CONNECTIONS_PER_SHARD,
    guests: 0,
    shardsSubscribed: shards.length,
    ready: true,
    memory: MEMORY_PARTS.map((name) => ({ name, bytes: 10_000_000, bytesAtStart: 5_000_000 })),
    acquired: movesOf('acquiring', 'to'),
    released: movesOf('handing-over', 'from'),
    shuttingDown: false,
    handshakesPending: 0,
    eventLoopLagMs: 1,
    memoryHeadroom: 0.5,
    goawaysPending: 0,
    clientsReturned: 0,
    clientsReturnedIds: [],
    reconnectLoops: [],
    pushesSkipped: [],
    redisUnusable: [],
    redisDeserted: [],
    routersSeen: true,
    reasons: [],
    confirmed: { shards, pushes: shards.map(() => 1_000), unanswered: 0 },
    confirmationLatencies: [],
    gaps: 0,
  };
  return encode({ $case: 'stats', value: stats });
}

function encode(body: SessionRequest['body']): Buffer {
  return EdgeSessionServiceService.session.requestSerialize({ body });
}

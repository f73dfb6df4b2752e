/**
 * The gRPC EdgeSessionService: every edge keeps one session open. What comes up is checked here,
 * once; behind this file a hello is well-formed and counts are numbers.
 */
import { Metadata, type ServerDuplexStream } from '@grpc/grpc-js';
import type { Counter } from 'prom-client';
import { ORIGIN, type Position } from '../../common/cluster/assignment.js';
import { parseHostPort } from '../../common/net/host-port.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { toServiceError } from '../../common/process/grpc-server.js';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import type {
  EdgeSessionServiceServer,
  Hello,
  SessionRequest,
  SessionResponse,
  ShardLoads,
  Stats,
} from '../../proto/gen/longline/v1/edge_session.js';
import { streamAssignments } from './assignment-stream.js';
import type { Controller, EdgePace } from '../leadership/controller.js';
import { findReportProblem, type ShardReport } from '../placement/loads.js';
import type { EdgeReport, Session } from '../membership/membership-driver.js';

type Call = ServerDuplexStream<SessionRequest, SessionResponse>;

const HELLO_WAIT_MS = 5_000;
const PACE_INTERVAL_MS = 500;
const ID = /^[A-Za-z0-9._-]{1,128}$/;
/** A position beyond this is nonsense, and would leave control no room to go on. */
const POSITION_PART_MAX = 2 ** 48;

export interface EdgeSessionsOptions {
  readonly controller: Pick<Controller, 'watch' | 'open' | 'paceOf' | 'rejected'>;
  readonly shardCount: number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export function createEdgeSessionService({
  controller,
  shardCount,
  log,
  metrics,
}: EdgeSessionsOptions): EdgeSessionServiceServer {
  const context = {
    controller,
    shardCount,
    log,
    reportsRejected: metrics.counter(
      'longline_control_reports_rejected_total',
      'Reports of edges whose counts were not to be believed.',
    ),
  };
  return { session: (call) => new EdgeSession(call, context) };
}

interface Context extends Omit<EdgeSessionsOptions, 'metrics'> {
  readonly reportsRejected: Counter;
}

class EdgeSession {
  /** Undefined until the hello. */
  #session: Session | undefined;
  #stopStream = () => {};
  /** What the edge was told last. */
  #pace: EdgePace = { perSecond: 0, drainUntilMs: undefined };
  #capacity = 0;
  /** Whether the last report was not believed. */
  #hasRejected = false;
  #edgeId = '';
  readonly #helloTimer: NodeJS.Timeout;
  #log: Logger;

  constructor(
    readonly call: Call,
    readonly context: Context,
  ) {
    this.#log = context.log.child({ peer: call.getPeer() });
    this.#helloTimer = setTimeout(
      () => this.#end(rejection('REQUEST_MALFORMED', `no hello within ${HELLO_WAIT_MS} ms`)),
      HELLO_WAIT_MS,
    );
    call.on('data', (request) => this.#onRequest(request));
    call.on('end', () => call.end());
    // Every stream closes once, whoever ended it.
    call.on('close', () => this.#onClose());
  }

  #onRequest({ body }: SessionRequest): void {
    if (this.call.writableEnded) return;
    if (this.#session === undefined) {
      if (body?.$case === 'hello') this.#onHello(body.value);
      else this.#end(rejection('REQUEST_MALFORMED', 'a session begins with a hello'));
    } else if (body?.$case === 'stats') {
      this.#session.report(this.#readStats(body.value));
    } else {
      this.#end(rejection('REQUEST_MALFORMED', 'after the hello only stats are expected'));
    }
  }

  #onHello(hello: Hello): void {
    clearTimeout(this.#helloTimer);
    const { controller, shardCount } = this.context;
    const have = hello.have ?? ORIGIN;
    const { edgeId: id, incarnation, advertisedUrl, frontAddress, capacity, zone } = hello;
    const edge = { id, incarnation, advertisedUrl, frontAddress, capacity, zone };
    const opened =
      rejectHello(hello, have, shardCount) ?? controller.open(edge, have, (why) => this.#end(why));
    if ('code' in opened) {
      if (opened.code === 'EDGE_ID_IN_USE') {
        controller.rejected({ type: 'edge-rejected', edgeId: id, reason: opened.message });
      }
      this.#end(opened);
      return;
    }
    this.#session = opened;
    this.#edgeId = id;
    this.#capacity = capacity;
    this.#log = this.#log.child({ edgeId: id, incarnation });
    this.#log.info({ advertisedUrl, capacity }, 'edge session opened');
    // The edge learns that it was let in even when there is nothing newer for it.
    this.call.sendMetadata(new Metadata());
    const stopAssignments = streamAssignments(this.call, controller, have);
    const pacing = setInterval(() => this.#sendPace(), PACE_INTERVAL_MS);
    this.#stopStream = () => {
      stopAssignments();
      clearInterval(pacing);
    };
  }

  /** A report with nonsense in it still shows that the edge lives; what it counts is unknown. */
  #readStats(stats: Stats): EdgeReport {
    const { shardCount, controller } = this.context;
    const under = stats.measuredUnder ?? ORIGIN;
    const { connections, acquired, released } = stats;
    const loads = { under, connections, shards: readShards(stats.loads) };
    const problem =
      findReportProblem(loads, shardCount, this.#capacity) ?? findProblem(stats, shardCount);
    if (problem !== undefined) {
      this.context.reportsRejected.inc();
      if (!this.#hasRejected) {
        this.#log.warn({ problem }, 'a report is not to be believed');
        controller.rejected({ type: 'report-rejected', edgeId: this.#edgeId, reason: problem });
      }
    }
    this.#hasRejected = problem !== undefined;
    return {
      counts: problem === undefined ? { ...stats, shards: loads.shards } : undefined,
      loads: problem === undefined ? loads : undefined,
      moves: { edgeId: this.#edgeId, under, acquired, released },
      isLeaving: stats.shuttingDown,
    };
  }

  /** Only when there is something new to say. */
  #sendPace(): void {
    const pace = this.context.controller.paceOf(this.#edgeId);
    const { perSecond, drainUntilMs } = pace;
    if (perSecond === this.#pace.perSecond && drainUntilMs === this.#pace.drainUntilMs) return;
    this.#pace = pace;
    this.call.write({
      assignment: undefined,
      pace: { goawaysPerSecond: perSecond, drainUntilMs: drainUntilMs ?? 0 },
    });
  }

  #end(why: Rejection): void {
    if (this.call.writableEnded) return;
    this.#stopStream();
    this.#log.warn({ why }, 'edge session ended');
    this.call.emit('error', toServiceError(why));
  }

  #onClose(): void {
    clearTimeout(this.#helloTimer);
    this.#stopStream();
    if (this.#session === undefined) return;
    this.#session.broke();
    this.#log.info('edge session closed');
  }
}

function rejectHello(hello: Hello, have: Position, shardCount: number): Rejection | undefined {
  if (hello.shardCount !== shardCount) {
    return rejection(
      'SETTINGS_MISMATCH',
      `the cluster has ${shardCount} shards, edge ${hello.edgeId} was started with ${hello.shardCount}`,
    );
  }
  const id = '1 to 128 characters of A-Z a-z 0-9 . _ -';
  const expectations: [met: boolean, text: string][] = [
    [ID.test(hello.edgeId), `edge_id must be ${id}`],
    [ID.test(hello.incarnation), `incarnation must be ${id}`],
    [isOrigin(hello.advertisedUrl), 'advertised_url must be an http(s) URL without a path'],
    [
      hello.frontAddress === undefined || parseHostPort(hello.frontAddress) !== undefined,
      'front_address must be host:port',
    ],
    [hello.capacity >= 1, 'capacity must be at least 1'],
    [hello.zone === '' || ID.test(hello.zone), `zone must be empty or ${id}`],
    [
      Math.max(have.incarnation, have.epoch) <= POSITION_PART_MAX,
      `have must not be beyond ${POSITION_PART_MAX}`,
    ],
  ];
  const broken = expectations.filter(([met]) => !met).map(([, text]) => text);
  return broken.length === 0 ? undefined : rejection('REQUEST_MALFORMED', broken.join('; '));
}

/** Scheme, host and port, written so that a path can be appended. */
function isOrigin(text: string): boolean {
  return /^https?:\/\/[^\s/?#@]+$/.test(text) && URL.canParse(text);
}

/** Columns of different lengths leave what is no number, which `findReportProblem` finds. */
function readShards(loads: ShardLoads | undefined): ShardReport[] {
  const { shards = [], connections = [], messagesPer1000Seconds: rates = [] } = loads ?? {};
  const length = Math.max(shards.length, connections.length, rates.length);
  return Array.from({ length }, (_, i) => ({
    shard: shards[i] ?? Number.NaN,
    connections: connections[i] ?? Number.NaN,
    messagesPerSecond: (rates[i] ?? Number.NaN) / 1_000,
  }));
}

function findProblem(stats: Stats, shardCount: number): string | undefined {
  if (stats.shardsSubscribed > shardCount) {
    return `${stats.shardsSubscribed} shards subscribed of ${shardCount}`;
  }
  if (stats.guests > stats.connections) {
    return `${stats.guests} guests among ${stats.connections} connections`;
  }
  return undefined;
}

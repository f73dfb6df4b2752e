/**
 * The gRPC EdgeSessionService: every edge keeps one session open. All input is validated here, so
 * that the rest of control sees only well-formed hellos and plausible counts.
 */

import { Metadata, type ServerDuplexStream } from '@grpc/grpc-js';
import type { Counter } from 'prom-client';
import { parseHostPort } from '../../common/net/host-port.js';
import { areSettingDigests } from '../../common/process/agreed-settings.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { toServiceError } from '../../common/process/grpc/calls.js';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import { ORIGIN, type Position } from '../../common/wire/position.js';
import type {
  Build,
  EdgeSessionServiceServer,
  Hello,
  MemoryPart,
  SessionRequest,
  SessionResponse,
  Stats,
} from '../../proto/gen/longline/v1/edge_session.js';
import type { Controller } from '../leadership/controller.js';
import type { EdgeCounts } from '../membership/edge-record.js';
import type { EdgeReport, Session } from '../membership/membership-driver.js';
import type { EdgePace } from '../pace/cluster-pace.js';
import { findReportProblem, type ShardReport } from '../placement/load-report.js';
import { AssignmentStream } from './assignment-stream.js';
import type { AssignmentUpdates } from './assignment-updates.js';
import { ClientEvents, type ClientReport, readClientReport } from './client-reports.js';
import type { ClientScans } from './client-scans.js';
import { ReportedLists } from './reported-lists.js';

type Call = ServerDuplexStream<SessionRequest, SessionResponse>;

const HELLO_TIMEOUT_MS = 5_000;
const PACE_INTERVAL_MS = 500;
const ID = /^[A-Za-z0-9._-]{1,128}$/;
/** A larger position is implausible, and would leave no room for the positions after it. */
const POSITION_PART_MAX = 2 ** 48;

export interface EdgeSessionsOptions {
  readonly controller: Pick<Controller, 'watch' | 'openSession' | 'paceOf' | 'record' | 'ledger'>;
  readonly updates: AssignmentUpdates;
  readonly scans: Pick<ClientScans, 'open' | 'onResult'>;
  readonly shardCount: number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export function createEdgeSessionService({
  controller,
  updates,
  scans,
  shardCount,
  log,
  metrics,
}: EdgeSessionsOptions): EdgeSessionServiceServer {
  const context = {
    controller,
    updates,
    scans,
    clientEvents: new ClientEvents(),
    shardCount,
    log,
    reportsRejected: metrics.counter(
      'longline_control_reports_rejected_total',
      'Reports of edges with implausible counts',
    ),
  };
  return { session: (call) => new EdgeSession(call, context) };
}

interface Context extends Omit<EdgeSessionsOptions, 'metrics'> {
  readonly clientEvents: ClientEvents;
  readonly reportsRejected: Counter;
}

class EdgeSession {
  /** Undefined until the hello. */
  #session: Session | undefined;
  #assignments: AssignmentStream | undefined;
  #pacing: NodeJS.Timeout | undefined;
  #closeScans = () => {};
  /** The pace that was last sent. */
  #pace: EdgePace = { perSecond: 0, drainUntilMs: undefined };
  #capacity = 0;
  /** Whether the last report was implausible. */
  #wasImplausible = false;
  #edgeId = '';
  #incarnation = '';
  readonly #lists = new ReportedLists();
  readonly #peer: string;
  readonly #helloTimer: NodeJS.Timeout;

  constructor(
    readonly call: Call,
    readonly context: Context,
  ) {
    this.#peer = call.getPeer();
    this.#helloTimer = setTimeout(
      () => this.#end(rejection('REQUEST_MALFORMED', `no hello within ${HELLO_TIMEOUT_MS} ms`)),
      HELLO_TIMEOUT_MS,
    );
    call.on('data', (request) => this.#onRequest(request));
    call.on('end', () => call.end());
    // Every stream emits 'close' once, whichever side has ended it.
    call.on('close', () => this.#onClose());
  }

  /** Made when something is logged: a logger for each session would be kept by all. */
  get #log(): Logger {
    const { log } = this.context;
    const [peer, edgeId, incarnation] = [this.#peer, this.#edgeId, this.#incarnation];
    return log.child(this.#session === undefined ? { peer } : { peer, edgeId, incarnation });
  }

  #onRequest({ body }: SessionRequest): void {
    if (this.call.writableEnded) return;
    if (this.#session === undefined) {
      if (body?.$case === 'hello') this.#onHello(body.value);
      else this.#end(rejection('REQUEST_MALFORMED', 'the first message must be a hello'));
    } else if (body?.$case === 'stats') {
      this.#session.report(this.#readStats(body.value));
    } else if (body?.$case === 'resendAssignment') {
      this.#assignments?.resend();
    } else if (body?.$case === 'clientScanResult') {
      this.context.scans.onResult(this.#edgeId, body.value);
    } else {
      this.#end(rejection('REQUEST_MALFORMED', 'messages after the hello must be stats'));
    }
  }

  #onHello(hello: Hello): void {
    clearTimeout(this.#helloTimer);
    const { controller, shardCount } = this.context;
    const have = hello.have ?? ORIGIN;
    const {
      edgeId: id,
      incarnation,
      advertisedUrl,
      frontAddress,
      capacity,
      zone,
      build,
      settings,
    } = hello;
    const edge = { id, incarnation, advertisedUrl, frontAddress, capacity, zone, build, settings };
    const opened =
      rejectHello(hello, have, shardCount) ??
      controller.openSession(edge, have, (reason) => this.#end(reason));
    if ('code' in opened) {
      if (opened.code === 'EDGE_ID_IN_USE') {
        controller.record({ type: 'edge-rejected', edgeId: id, reason: opened.message });
      }
      this.#end(opened);
      return;
    }
    this.#session = opened;
    this.#edgeId = id;
    this.#incarnation = incarnation;
    this.#capacity = capacity;
    this.#log.info({ advertisedUrl, capacity }, 'edge session opened');
    // Metadata tells the edge that it is accepted, even when no newer assignment follows.
    this.call.sendMetadata(new Metadata());
    this.#assignments = new AssignmentStream(controller, this.context.updates, {
      have,
      acceptsDeltas: hello.acceptsDeltas,
      write: (update, onSent) =>
        this.call.write({ ...update, pace: undefined, clientScan: undefined }, onSent),
    });
    this.#closeScans = this.context.scans.open(id, (clientScan) => {
      this.call.write({ assignment: undefined, pace: undefined, delta: undefined, clientScan });
    });
    this.#pacing = setInterval(() => this.#sendPace(), PACE_INTERVAL_MS);
  }

  #stopSending(): void {
    this.#assignments?.stop();
    this.#closeScans();
    clearInterval(this.#pacing);
  }

  /** An implausible report still renews the lease, but its counts are unknown. */
  #readStats(stats: Stats): EdgeReport {
    const { shardCount, controller } = this.context;
    const under = stats.measuredUnder ?? ORIGIN;
    const { connections, acquired, released } = stats;
    const loads = { under, connections, shards: this.#lists.readShards(stats.loads) };
    const memory = this.#lists.readMemory(stats.memory);
    const problem =
      findReportProblem(loads, shardCount, this.#capacity) ?? findProblem(stats, shardCount);
    if (problem !== undefined) {
      this.context.reportsRejected.inc();
      if (!this.#wasImplausible) {
        this.#log.warn({ problem }, 'implausible report');
        controller.record({ type: 'report-rejected', edgeId: this.#edgeId, reason: problem });
      }
    }
    this.#wasImplausible = problem !== undefined;
    const { confirmed, confirmationLatencies } = stats;
    const nowMs = performance.now();
    controller.ledger?.onEdge(this.#incarnation, confirmed, confirmationLatencies, nowMs);
    const clients = readClientReport(stats);
    for (const event of this.context.clientEvents.read(this.#edgeId, clients, nowMs)) {
      controller.record(event);
    }
    return {
      counts: problem === undefined ? countsOf(stats, clients, loads.shards, memory) : undefined,
      loads: problem === undefined ? loads : undefined,
      moves: { edgeId: this.#edgeId, under, acquired, released },
      isShuttingDown: stats.shuttingDown,
    };
  }

  /** Sends the pace if it has changed. */
  #sendPace(): void {
    const pace = this.context.controller.paceOf(this.#edgeId);
    const { perSecond, drainUntilMs } = pace;
    if (perSecond === this.#pace.perSecond && drainUntilMs === this.#pace.drainUntilMs) return;
    this.#pace = pace;
    // As the time that is left: the edge's clock may differ from this one's.
    const drainRemainingMs =
      drainUntilMs === undefined ? undefined : Math.round(drainUntilMs - performance.now());
    this.call.write({
      assignment: undefined,
      pace: { goawaysPerSecond: perSecond, drainRemainingMs },
      delta: undefined,
      clientScan: undefined,
    });
  }

  #end(reason: Rejection): void {
    if (this.call.writableEnded) return;
    this.#stopSending();
    this.#log.warn({ reason }, 'edge session ended');
    this.call.emit('error', toServiceError(reason));
  }

  #onClose(): void {
    clearTimeout(this.#helloTimer);
    this.#stopSending();
    if (this.#session === undefined) return;
    this.#session.disconnected();
    this.#log.info('edge session closed');
  }
}

function rejectHello(hello: Hello, have: Position, shardCount: number): Rejection | undefined {
  if (hello.shardCount !== shardCount) {
    return rejection(
      'SETTINGS_MISMATCH',
      `the cluster has ${shardCount} shards, edge ${hello.edgeId} is configured with ${hello.shardCount}`,
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
    [areSettingDigests(hello.settings), 'settings must be digests by name'],
    [isBuild(hello.build), `version and commit must be empty or ${id}`],
    [
      Math.max(have.incarnation, have.epoch) <= POSITION_PART_MAX,
      `have must not exceed ${POSITION_PART_MAX}`,
    ],
  ];
  const problems = expectations.filter(([met]) => !met).map(([, text]) => text);
  return problems.length === 0 ? undefined : rejection('REQUEST_MALFORMED', problems.join('; '));
}

/** Whether `text` is scheme, host and port, so that a path can be appended. */
function isOrigin(text: string): boolean {
  return /^https?:\/\/[^\s/?#@]+$/.test(text) && URL.canParse(text);
}

function isBuild(build: Build | undefined): boolean {
  return [build?.version ?? '', build?.commit ?? ''].every((text) => text === '' || ID.test(text));
}

/** Field by field: copies of whole messages were a tenth of the cost of a report. */
function countsOf(
  stats: Stats,
  { clientsReturned, clientsReturnedIds, reconnectLoops }: ClientReport,
  shards: readonly ShardReport[],
  memory: readonly MemoryPart[],
): EdgeCounts {
  return {
    connections: stats.connections,
    connectionsOpened: stats.connectionsOpened,
    guests: stats.guests,
    shardsSubscribed: stats.shardsSubscribed,
    ready: stats.ready,
    shards,
    memory,
    goawaysPending: stats.goawaysPending,
    handshakesPending: stats.handshakesPending,
    eventLoopLagMs: stats.eventLoopLagMs,
    gaps: stats.gaps,
    memoryHeadroom: stats.memoryHeadroom,
    clientsReturned,
    clientsReturnedIds,
    reconnectLoops,
    reasons: stats.reasons,
    redisDeserted: stats.redisDeserted,
    redisUnusable: stats.redisUnusable,
    routersSeen: stats.routersSeen,
    shuttingDown: stats.shuttingDown,
  };
}

function findProblem(stats: Stats, shardCount: number): string | undefined {
  if (stats.shardsSubscribed > shardCount) {
    return `${stats.shardsSubscribed} subscribed shards; the cluster has ${shardCount}`;
  }
  if (stats.guests > stats.connections) {
    return `${stats.guests} guests, but only ${stats.connections} connections`;
  }
  return undefined;
}

/**
 * Sends goaways to clients that belong elsewhere, a few at a time: those of shards that this edge
 * has lost, and all when it is to become empty. Each step also advances the moves of shards and the
 * edge's own shutdown.
 */
import { type Assignment, ownerOf } from '../../common/cluster/assignment.js';
import type { AssignmentFeed } from '../../common/cluster/assignment-feed.js';
import { randomBetween } from '../../common/process/backoff.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { Connection } from '../../common/transport/transport.js';
import { connectUrl } from '../../common/wire/connect-query.js';
import type { Pace } from '../report/control-link.js';
import type { Clients } from '../session/clients.js';
import type { ConnectionLabels } from '../session/connection-labels.js';
import type { Connections } from '../session/connections.js';
import type { MessageLimits } from '../session/message-limits.js';
import type { TokenExpiry } from '../session/token-expiry.js';
import type { Shards } from '../shards/shards.js';
import { GoawayCredit } from './goaway-credit.js';
import { GoawayQueue } from './goaway-queue.js';
import type { EdgeState, Shutdown, ShutdownStep } from './shutdown.js';

/** Range of the delay before a device reconnects: few receive a goaway at the same time. */
const RETRY_MS = { min: 100, max: 1_000 };
/** The same when all clients receive one within seconds. */
const RETRY_CLOSING_MS = { min: 500, max: 5_000 };

/** Maximum clients that a drain names. */
const WAITING_NAMED_MAX = 10;

/** The part of the control link that is used here. */
export interface ControlSession {
  readonly isUp: boolean;
  readonly pace: Pace;
  reportSoon(): void;
}

export interface GoawaysOptions {
  readonly edgeId: string;
  readonly table: Connections;
  readonly clients: Pick<Clients, 'sendGoaway'>;
  readonly tokenExpiry: Pick<TokenExpiry, 'ticketOf'>;
  readonly limits: Pick<MessageLimits, 'find'>;
  readonly labels: Pick<ConnectionLabels, 'queryOf'>;
  readonly shards: Shards;
  readonly shutdown: Shutdown;
  readonly feed: Pick<AssignmentFeed, 'current'>;
  readonly metrics: Metrics;
}

export class Goaways {
  readonly #queue: GoawayQueue;
  readonly #credit = new GoawayCredit();
  #lastGoawayAtMs = Number.NEGATIVE_INFINITY;
  /** `connectedBeforeMs` of the clients that were queued last, beside those of lost shards. */
  #othersBeforeMs: number | undefined;
  /** Number of acquired and released shards in the last report. */
  #movesReported = 0;

  constructor(readonly options: GoawaysOptions) {
    const { table, metrics } = options;
    this.#queue = new GoawayQueue((connection) => table.has(connection));
    metrics.gauge(
      'longline_edge_goaways_pending',
      'Clients of shards that have moved away, before their GOAWAY',
      () => this.pendingCount,
    );
  }

  get pendingCount(): number {
    return this.#queue.count();
  }

  /** Applies a new assignment. */
  assign(assignment: Assignment): void {
    const { shards, table } = this.options;
    for (const shard of shards.assign(assignment)) {
      this.#queue.addShard(shard, table.ofShard(shard));
    }
    for (const shard of this.#queue.shards()) {
      if (shards.owns(shard)) this.#queue.removeShard(shard);
    }
  }

  /**
   * To be called every `GOAWAY_STEP_MS`.
   * @param isRedisSilent this edge cannot prove that it receives messages from Redis
   */
  step(nowMs: number, control: ControlSession, isRedisSilent: boolean): ShutdownStep {
    const { shards, shutdown } = this.options;
    const step = shutdown.step(nowMs, this.#state(control, isRedisSilent));
    this.#queueOthers(step);
    for (let left = this.#credit.take(nowMs, step.goawaysPerSecond); left > 0; left--) {
      const connection = this.#queue.take();
      if (connection === undefined) break;
      this.#sendGoaway(connection, step.isClosing ? RETRY_CLOSING_MS : RETRY_MS);
      this.#lastGoawayAtMs = nowMs;
    }
    shards.step(nowMs, (shard) => this.#queue.hasRemaining(shard));
    const moves = shards.acquired().length + shards.released().length;
    if (moves !== this.#movesReported) control.reportSoon();
    this.#movesReported = moves;
    return step;
  }

  /**
   * Clients that remain because they have returned after their goaway, while this edge drains.
   * Undefined: goaways are still pending, or the edge does not drain.
   */
  get waitingFor(): { readonly clients: number; readonly clientIds: string[] } | undefined {
    const { table } = this.options;
    const beforeMs = this.#othersBeforeMs ?? Number.POSITIVE_INFINITY;
    if (beforeMs === Number.POSITIVE_INFINITY || !this.#queue.isEmpty) return undefined;
    const clientIds: string[] = [];
    for (const connection of table.all()) {
      clientIds.push(table.clientIdOf(connection));
      if (clientIds.length === WAITING_NAMED_MAX) break;
    }
    return { clients: table.count, clientIds };
  }

  /** Queues each client once, unless clients that return are rejected. */
  #queueOthers({ isForAll, connectedBeforeMs }: ShutdownStep): void {
    const { table } = this.options;
    const beforeMs = isForAll ? connectedBeforeMs : undefined;
    const isForLater = beforeMs === Number.POSITIVE_INFINITY && this.#queue.isEmpty;
    if (beforeMs === this.#othersBeforeMs && !isForLater) return;
    this.#othersBeforeMs = beforeMs;
    if (beforeMs === undefined) return this.#queue.removeOthers();
    const others = [...table.all()].filter((each) => table.connectedAtMs(each) < beforeMs);
    this.#queue.addOthers(others);
  }

  #state({ isUp, pace }: ControlSession, isRedisSilent: boolean): EdgeState {
    const { edgeId, shards, table, feed } = this.options;
    const edges = feed.current?.edges ?? [];
    return {
      connections: table.count,
      shardsOwned: shards.ownedCount,
      handingOver: shards.handingOverCount,
      notReleased: shards.handingOverCount - shards.released().length,
      isDraining: edges.some(({ id, intent }) => id === edgeId && intent === 'draining'),
      isRedisSilent,
      hasOtherEdge: edges.some(({ id, intent }) => id !== edgeId && intent === 'none'),
      isControlUp: isUp,
      goawaysPerSecond: pace.goawaysPerSecond,
      drainUntilMs: pace.drainUntilMs,
      lastGoawayAtMs: this.#lastGoawayAtMs,
    };
  }

  #sendGoaway(connection: Connection, { min, max }: typeof RETRY_MS): void {
    const { clients } = this.options;
    clients.sendGoaway(connection, randomBetween(min, max), this.#ownerUrl(connection));
  }

  /** URL of the edge that owns the connection's shard; undefined if there is no other owner. */
  #ownerUrl(connection: Connection): string | undefined {
    const { edgeId, table, tokenExpiry, limits, labels, feed } = this.options;
    const { current } = feed;
    const owner = current && ownerOf(current, table.shardOf(connection));
    if (owner === undefined || owner.id === edgeId) return undefined;
    // Without a cursor: only the device knows which pushes it has.
    const query = {
      clientId: table.clientIdOf(connection),
      lastEventId: '',
      routedUnder: undefined,
      maxBytes: limits.find(connection),
      labels: labels.queryOf(connection) || undefined,
    };
    const ticket = tokenExpiry.ticketOf(connection);
    return connectUrl(owner.advertisedUrl, query, current!.position, ticket);
  }
}

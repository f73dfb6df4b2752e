/**
 * Lets clients go that belong elsewhere, a few at a time: those of shards that this edge has lost,
 * and everybody when it is to be empty. Goes on with moves and with the edge's own shutdown on the
 * way.
 */
import { type Assignment, ownerOf } from '../../common/cluster/assignment.js';
import type { AssignmentFeed } from '../../common/cluster/assignment-feed.js';
import { randomBetween } from '../../common/process/backoff.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { Connection } from '../../common/transport/transport.js';
import { connectUrl } from '../../common/wire/connect-query.js';
import type { Pace } from '../../proto/gen/longline/v1/edge_session.js';
import type { Clients } from '../session/clients.js';
import { GoawayCredit } from './goaway-credit.js';
import { GoawayQueue } from './goaway-queue.js';
import type { Shutdown, ShutdownStep, Standing } from './shutdown.js';

/** How long a device is told to wait: it is one of a few that are told at the same time. */
const RETRY_MS = { min: 100, max: 1_000 };
/** The same when everybody has to go at once. */
const RETRY_CLOSING_MS = { min: 500, max: 5_000 };

/** Control, as far as it matters here. */
export interface Operations {
  readonly isUp: boolean;
  readonly pace: Pace;
  reportSoon(): void;
}

export class Goaways {
  readonly #queue: GoawayQueue;
  readonly #credit = new GoawayCredit();
  #lastGoawayAtMs = Number.NEGATIVE_INFINITY;
  /** How many moves have been reported to have come to their end here. */
  #movesReported = 0;

  constructor(
    readonly clients: Clients,
    readonly shutdown: Shutdown,
    readonly feed: Pick<AssignmentFeed, 'current'>,
    metrics: Metrics,
  ) {
    this.#queue = new GoawayQueue((connection) => clients.table.holds(connection));
    metrics.gauge(
      'longline_edge_goaways_pending',
      'Clients of shards that have moved away, still to be told to go.',
      () => this.waiting,
    );
  }

  get waiting(): number {
    return this.#queue.count();
  }

  /** Takes over a new assignment. */
  assign(assignment: Assignment): void {
    const { shards, table } = this.clients;
    for (const shard of shards.assign(assignment)) this.#queue.lose(shard, table.ofShard(shard));
    for (const shard of this.#queue.shards()) if (shards.owns(shard)) this.#queue.regain(shard);
  }

  /**
   * To be called every `GOAWAY_STEP_MS`.
   * @param operations undefined before there is any
   * @param startsUnsubscribed this edge cannot prove that it hears Redis
   */
  step(
    nowMs: number,
    operations: Operations | undefined,
    startsUnsubscribed: boolean,
  ): ShutdownStep {
    const { shards, table } = this.clients;
    const step = this.shutdown.step(nowMs, { ...this.#standing(operations), startsUnsubscribed });
    if (!step.isForAll) this.#queue.keepOthers();
    else if (this.#queue.isEmpty) this.#queue.loseAll(table.all());
    for (let left = this.#credit.take(nowMs, step.goawaysPerSecond); left > 0; left--) {
      const connection = this.#queue.take();
      if (connection === undefined) break;
      this.#letGo(connection, step.isClosing ? RETRY_CLOSING_MS : RETRY_MS);
      this.#lastGoawayAtMs = nowMs;
    }
    shards.step(nowMs, (shard) => this.#queue.isAwaited(shard));
    const moves = shards.acquired().length + shards.released().length;
    if (moves !== this.#movesReported) operations?.reportSoon();
    this.#movesReported = moves;
    return step;
  }

  #standing(operations: Operations | undefined): Omit<Standing, 'startsUnsubscribed'> {
    const { shards, table } = this.clients;
    const edges = this.feed.current?.edges ?? [];
    const { edgeId } = shards;
    return {
      connections: table.count,
      shardsOwned: shards.ownedCount,
      handingOver: shards.handingOverCount,
      notReleased: shards.handingOverCount - shards.released().length,
      isDraining: edges.some(({ id, intent }) => id === edgeId && intent === 'draining'),
      hasRefuge: edges.some(({ id, intent }) => id !== edgeId && intent === 'none'),
      isControlUp: operations?.isUp ?? false,
      goawaysPerSecond: operations?.pace.goawaysPerSecond ?? 0,
      drainUntilMs: operations?.pace.drainUntilMs ?? 0,
      lastGoawayAtMs: this.#lastGoawayAtMs,
    };
  }

  #letGo(connection: Connection, { min, max }: typeof RETRY_MS): void {
    const { table } = this.clients;
    const clientId = table.clientIdOf(connection);
    const { current } = this.feed;
    const owner = current && ownerOf(current, table.shardOf(connection));
    const isElsewhere = owner !== undefined && owner.id !== this.clients.edgeId;
    // Without a cursor: only the device knows what it has.
    const query = { clientId, lastEventId: '', sentUnder: undefined };
    const ticket = this.clients.tokenExpiry.ticketOf(connection);
    const url = isElsewhere
      ? connectUrl(owner.advertisedUrl, query, current!.position, ticket)
      : undefined;
    this.clients.letGo(connection, randomBetween(min, max), url);
  }
}

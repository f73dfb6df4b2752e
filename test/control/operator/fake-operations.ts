/** A fake of the leader's operations: it records calls and returns what a test sets. */

import { hashToken } from '../../../common/auth/tokens.js';
import type { Intent } from '../../../common/cluster/assignment.js';
import type { InboxSummary } from '../../../common/cluster/inbox/summary.js';
import type { ShardNames } from '../../../common/cluster/shard-names.js';
import type { Rejection } from '../../../common/process/errors.js';
import { Metrics } from '../../../common/process/metrics.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import type { Position } from '../../../common/wire/position.js';
import type {
  Audit,
  ClientAction,
  LogEntry,
  LoggedEvent,
  MovesInfo,
  Operations,
  PlanInfo,
} from '../../../control/leadership/operations.js';
import { ClientScans } from '../../../control/links/client-scans.js';
import { Access } from '../../../control/operator/access.js';
import type { OperatorApi } from '../../../control/operator/api.js';
import { CanariesApi } from '../../../control/operator/canaries.js';
import { BlocksApi } from '../../../control/operator/clients/blocks.js';
import { ClientLists } from '../../../control/operator/clients/client-lists.js';
import { ClientPushes } from '../../../control/operator/clients/client-pushes.js';
import { Disconnects } from '../../../control/operator/clients/disconnects.js';
import { Inboxes } from '../../../control/operator/clients/inboxes.js';
import { RevocationsApi } from '../../../control/operator/clients/revocations.js';
import { LedgerApi } from '../../../control/operator/ledger.js';
import { OperationsApi } from '../../../control/operator/operations.js';
import type { ClientSources, OperatorQueries } from '../../../control/operator/queries.js';
import { rejectIntent } from '../../../control/planning/preconditions.js';

export const idle: MovesInfo = {
  inFlight: [],
  pending: 0,
  isPaused: false,
  frozenRemainingMs: undefined,
  perSecond: 0,
  paceReason: 'nothing-to-do',
  secondsRemaining: undefined,
  drains: [],
};

export const somePlan: PlanInfo = {
  on: { incarnation: 1, epoch: 7 },
  shards: 3,
  clients: 1_200,
  churn: { removal: 0, addition: 200, balancing: 1_000 },
  transfers: [{ from: 'edge-1', to: 'edge-2', shards: [0, 1, 2], clients: 1_200 }],
  maxOverMean: { before: 1.5, after: 1.04 },
  irreducible: [3],
  reconnectsPerSecond: 100,
  secondsRemaining: 12,
};

export class FakeOperations implements Operations {
  info: MovesInfo = idle;
  planned: PlanInfo | Rejection = somePlan;
  /** Returned by every operation; undefined: success. */
  rejected: Rejection | undefined;
  readonly calls: unknown[][] = [];
  readonly events: LoggedEvent[] = [];
  /** Id of the newest event. */
  lastId = 0;
  readonly watchers = new Set<(event: LoggedEvent) => void>();
  intents = new Map<string, Intent>([
    ['edge-1', 'none'],
    ['edge-2', 'none'],
  ]);

  moves(): MovesInfo {
    return this.info;
  }

  plan(): PlanInfo | Rejection {
    return this.planned;
  }

  rebalance(on: Position | undefined, by: Audit): PlanInfo | Rejection {
    this.calls.push(['rebalance', on, by]);
    return this.rejected ?? this.planned;
  }

  pause(by: Audit): Rejection | undefined {
    if (this.rejected === undefined) this.info = { ...this.info, isPaused: true };
    return this.#record('pause', by);
  }

  resume(by: Audit): Rejection | undefined {
    if (this.rejected === undefined) this.info = { ...this.info, isPaused: false };
    return this.#record('resume', by);
  }

  abort(by: Audit): Rejection | undefined {
    if (this.rejected === undefined) this.info = { ...this.info, isPaused: true, pending: 0 };
    return this.#record('abort', by);
  }

  confirmLostEdges(by: Audit): Rejection | undefined {
    if (this.rejected === undefined) this.info = { ...this.info, frozenRemainingMs: undefined };
    return this.#record('confirm-lost-edges', by);
  }

  setIntent(...args: Parameters<Operations['setIntent']>): Rejection | undefined {
    const [edgeId, intent, { isForced }] = args;
    this.calls.push(['setIntent', ...args]);
    const edges = [...this.intents].map(([id, is]) => ({
      id,
      incarnation: 'i',
      advertisedUrl: '',
      intent: is,
    }));
    const rejected = this.rejected ?? rejectIntent(edges, edgeId, intent, isForced);
    if (rejected === undefined) this.intents.set(edgeId, intent);
    return rejected;
  }

  eventsAfter(after: number): readonly LoggedEvent[] {
    return this.events.filter(({ id }) => id > after);
  }

  watchEvents(onEvent: (event: LoggedEvent) => void): () => void {
    this.watchers.add(onEvent);
    return () => this.watchers.delete(onEvent);
  }

  /** Adds an event. */
  log(entry: LogEntry): void {
    const id = ++this.lastId;
    const event = { id, atMs: 1_700_000_000_000, position: { incarnation: 1, epoch: 7 }, entry };
    this.events.push(event);
    for (const onEvent of this.watchers) onEvent(event);
  }

  rejectAsFollower(): Rejection | undefined {
    return this.rejected;
  }

  recordAction(action: ClientAction, clientId: string, by: Audit, detail?: string): void {
    this.calls.push([action, clientId, by, ...(detail === undefined ? [] : [detail])]);
  }

  recordDisconnected(clients: number, state: string): void {
    this.calls.push(['disconnected', clients, state]);
  }

  #record(name: string, by: Audit): Rejection | undefined {
    this.calls.push([name, by]);
    return this.rejected;
  }
}

export const someInbox: InboxSummary = {
  count: 2,
  bytes: 300,
  newestId: '1700000000000-1',
  confirmedId: '1699999990000-0',
  goneId: '',
  oldest: { id: '1699999999000-0', ageMs: 1_500, ttlMs: 60_000 },
  ttlMs: 90_000,
};

/** Sources with an inbox of two pushes and no moves. */
export function sourcesOf(locate: ClientSources['locate']): ClientSources {
  return {
    locate,
    devicesOf: async () => [],
    summarizeInbox: async () => someInbox,
    ownedForMs: () => undefined,
  };
}

export const OPERATOR = 'operator-token-0123';
export const VIEWER = 'viewer-token-012345';

export const open = new Access([], []);
export const guarded = new Access(
  [{ name: 'ada', sha256: hashToken(OPERATOR) }],
  [{ name: 'vic', sha256: hashToken(VIEWER) }],
);

export function apiOf(
  queries: OperatorQueries,
  operations: Operations = new FakeOperations(),
  access = open,
  scans = new ClientScans(),
): OperatorApi {
  const settings = { LONGLINE_CONTROL_LEASE_MS: 10_000 };
  const blocks = new BlocksApi({} as RedisLink, operations, {} as ShardNames, undefined);
  const members = () => queries.snapshot().edges.map(({ id }) => id);
  const { shardCount } = queries;
  const rejectAsFollower = () => operations.rejectAsFollower();
  return {
    queries,
    ledger: new LedgerApi(() => undefined),
    canaries: new CanariesApi(),
    operations: new OperationsApi(operations),
    blocks,
    revocations: new RevocationsApi({} as RedisLink, operations),
    clients: new ClientLists(scans, members, shardCount, rejectAsFollower),
    disconnects: new Disconnects({
      scans,
      members,
      operations,
      shardCount,
      metrics: new Metrics(),
    }),
    pushes: new ClientPushes(
      {
        channelOf: () => 'll:{0}',
        queryRouters: async () => ({ code: 'OVERLOADED', message: '' }),
      },
      { nextTo: () => undefined },
    ),
    inboxes: new Inboxes(
      { execute: async () => ({ type: 'rejected', reason: 'Redis is away' }) } as never,
      { channelOf: () => 'll:{0}' } as never,
      operations,
    ),
    access,
    settings,
  };
}

/** The parts of control's HTTP API that the CLI uses. */
import type { BuildInfo } from '../../common/process/build-info.js';
import type { Position } from '../../common/wire/position.js';
import type { GuestReason } from '../../control/membership/guest-reason.js';
import type { ClientPushesResponse } from '../../control/operator/clients/client-pushes.js';
import type {
  ClientsResponse,
  ClientInfo as ConnectedClient,
  DisconnectsResponse,
  DisconnectInfo as DisconnectView,
  RevocationInfo,
  RevocationsResponse,
  SlowClientsResponse,
  UnrevokeResponse,
} from '../../control/operator/clients/responses.js';
import type { InboxResponse } from '../../control/operator/cluster-responses.js';
import type { LedgerResponse, ShardLedgersResponse } from '../../control/operator/ledger.js';
import type {
  BlocksResponse,
  EventInfo,
  MovesResponse,
  PlanResponse,
  UnblockResponse,
} from '../../control/operator/operation-responses.js';
import type { SlowPushesResponse } from '../../control/operator/slow-pushes.js';
import { type ControlAddress, callControl } from './request.js';

export type {
  ConnectedClient,
  DisconnectView,
  EventInfo,
  GuestReason,
  InboxResponse,
  LedgerResponse,
  MovesResponse,
  PlanResponse,
};

export interface ClusterView {
  readonly position: { readonly incarnation: number; readonly epoch: number };
  readonly shardCount: number;
  readonly shardsUnowned: number;
  readonly edgesAlive: number;
  readonly connections: number;
  readonly guests: number;
  readonly shardsMaxOverMean: number;
  /** Id of the leading control. */
  readonly leader: string | null;
  /** Build of the control that answered; absent: an older control. */
  readonly build?: BuildInfo;
}

/** Null: unknown to control now. */
export interface EdgeView {
  readonly id: string;
  readonly state: string;
  /** Null: the edge is not in the assignment. */
  readonly intent: 'none' | 'cordoned' | 'draining' | null;
  readonly advertisedUrl: string;
  readonly shardsOwned: number;
  readonly shardsSubscribed: number | null;
  readonly connections: number | null;
  readonly guests: number | null;
  readonly ready: boolean | null;
  /** Problems of the edge, as in its /readyz. */
  readonly reasons: readonly string[];
}

export interface MemoryView {
  readonly edgeId: string;
  readonly connections: number;
  readonly parts: readonly {
    readonly name: string;
    readonly bytes: number;
    readonly bytesPerConnection: number;
    readonly meaning: string;
  }[];
}

export interface ClientView {
  readonly clientId: string;
  readonly shard: number;
  readonly channel: string;
  /** Null: the shard has no owner. */
  readonly owner: string | null;
  readonly ownerUrl: string | null;
  readonly connections: readonly {
    readonly edgeId: string;
    readonly connectedAtMs: number;
    /** Absent: an older control. */
    readonly connectedForMs?: number;
    readonly protocol: string;
    readonly remoteAddress: string;
    /** Absent: an older control. */
    readonly labels?: string;
    readonly guest: boolean;
    /** Null: it is no guest. Absent: an older control. */
    readonly guestReason?: GuestReason | null;
  }[];
  /** Null: Redis did not answer. Absent: an older control. */
  readonly inbox?: InboxResponse | null;
  /** False: an edge that could have a connection of the client did not answer in time. */
  readonly complete: boolean;
  /** Edges on which connections of the client ended again and again; absent: an older control. */
  readonly reconnects?: readonly {
    readonly edgeId: string;
    /** Connections that ended in the last minute. */
    readonly ends: number;
    /** Why the latest ended, newest first. */
    readonly reasons: readonly string[];
  }[];
  /** Move of the shard in progress, if there is one. */
  readonly move: {
    readonly from: string;
    readonly to: string;
    readonly phase: 'acquiring' | 'handing-over';
  } | null;
}

/** Absent fields: any. */
export interface ClientFilter {
  readonly edge?: string;
  readonly shard?: number;
  readonly clientId?: string;
  readonly user?: string;
  readonly selector?: string;
  readonly protocol?: string;
  readonly olderThanMs?: number;
}

export interface DrainRequest {
  readonly rate?: number;
  /** Milliseconds from now. */
  readonly deadlineMs?: number;
  readonly force?: boolean;
  readonly reason?: string;
}

export type SimpleOperation = 'pause' | 'resume' | 'abort' | 'confirm-lost-edges';

/** Calls reject with `Rejected` when control rejects, with `Failure` when it is unreachable. */
export interface ControlApi {
  cluster(): Promise<ClusterView>;
  edges(): Promise<EdgeView[]>;
  memory(edgeId: string): Promise<MemoryView>;
  ledger(): Promise<LedgerResponse>;
  shardLedgers(): Promise<ShardLedgersResponse['shards']>;
  client(clientId: string): Promise<ClientView>;
  user(user: string): Promise<{ readonly devices: readonly ClientView[]; readonly more: boolean }>;
  clients(query: ClientFilter & { limit: number; page?: string }): Promise<ClientsResponse>;
  slowClients(query: ClientFilter & { by: string; limit: number }): Promise<SlowClientsResponse>;
  slowPushes(query: { limit: number }): Promise<SlowPushesResponse>;
  clientPushes(clientId: string): Promise<ClientPushesResponse>;
  /** Newest first. */
  disconnects(): Promise<DisconnectView[]>;
  disconnectClients(
    request: ClientFilter & { all?: boolean; rate: number; reason?: string },
  ): Promise<DisconnectView>;
  cancelDisconnect(request: { reason?: string }): Promise<DisconnectView>;
  moves(): Promise<MovesResponse>;
  plan(): Promise<PlanResponse>;
  rebalance(request: { on: Position; reason?: string }): Promise<PlanResponse>;
  perform(operation: SimpleOperation, request: { reason?: string }): Promise<MovesResponse>;
  drain(edgeId: string, request: DrainRequest): Promise<object>;
  cordon(edgeId: string, request: Pick<DrainRequest, 'force' | 'reason'>): Promise<object>;
  undrain(edgeId: string, request: { reason?: string }): Promise<object>;
  /** By name. */
  blocks(): Promise<BlocksResponse['blocks']>;
  block(request: { name: string; forMs: number; reason?: string }): Promise<object>;
  unblock(request: { name: string; reason?: string }): Promise<UnblockResponse>;
  /** By user; an empty one is all users. */
  revocations(): Promise<RevocationInfo[]>;
  revoke(request: { user?: string; beforeMs?: number; reason?: string }): Promise<RevocationInfo>;
  unrevoke(request: { user?: string; reason?: string }): Promise<UnrevokeResponse>;
  /** Oldest first. */
  events(after: number): Promise<EventInfo[]>;
}

/** @param token undefined: control requires none */
export function controlApi(url: string, token = process.env.LONGLINE_TOKEN): ControlApi {
  const address: ControlAddress = { url, token };
  const get = <Answer>(path: string) => callControl<Answer>(address, path);
  const post = <Answer>(path: string, body: object) => callControl<Answer>(address, path, body);
  const edge = (id: string) => `/v1/edges/${encodeURIComponent(id)}`;
  return {
    cluster: () => get('/v1/cluster'),
    edges: async () => (await get<{ edges: EdgeView[] }>('/v1/edges')).edges,
    memory: (edgeId) => get(`${edge(edgeId)}/memory`),
    ledger: () => get('/v1/ledger'),
    shardLedgers: async () => (await get<ShardLedgersResponse>('/v1/ledger/shards')).shards,
    client: (clientId) => get(`/v1/clients/${encodeURIComponent(clientId)}`),
    user: (user) => get(`/v1/users/${encodeURIComponent(user)}`),
    clients: (query) => get(`/v1/clients?${queryOf(query)}`),
    slowClients: (query) => get(`/v1/slow?${queryOf(query)}`),
    slowPushes: (query) => get(`/v1/slow-pushes?${queryOf(query)}`),
    clientPushes: (clientId) => get(`/v1/client-pushes/${encodeURIComponent(clientId)}`),
    disconnects: async () => (await get<DisconnectsResponse>('/v1/disconnects')).disconnects,
    disconnectClients: (request) => post('/v1/disconnect', request),
    cancelDisconnect: (request) => post('/v1/cancel-disconnect', request),
    moves: () => get('/v1/moves'),
    plan: () => get('/v1/plan'),
    rebalance: (request) => post('/v1/rebalance', request),
    perform: (operation, request) => post(`/v1/${operation}`, request),
    drain: (edgeId, request) => post(`${edge(edgeId)}/drain`, request),
    cordon: (edgeId, request) => post(`${edge(edgeId)}/cordon`, request),
    undrain: (edgeId, request) => post(`${edge(edgeId)}/undrain`, request),
    blocks: async () => (await get<BlocksResponse>('/v1/blocks')).blocks,
    block: (request) => post('/v1/block', request),
    unblock: (request) => post('/v1/unblock', request),
    revocations: async () => (await get<RevocationsResponse>('/v1/revocations')).revocations,
    revoke: (request) => post('/v1/revoke', request),
    unrevoke: (request) => post('/v1/unrevoke', request),
    events: async (after) =>
      (await get<{ events: EventInfo[] }>(`/v1/events?after=${after}`)).events,
  };
}

function queryOf(fields: object): string {
  const texts = Object.fromEntries(
    Object.entries(fields).map(([name, value]): [string, string] => [name, `${value}`]),
  );
  return new URLSearchParams(texts).toString();
}

/** The parts of control's HTTP API that the CLI uses. */
import type { BuildInfo } from '../../common/process/build-info.js';
import type { Position } from '../../common/wire/position.js';
import type { GuestReason } from '../../control/membership/guest-reason.js';
import type { InboxResponse } from '../../control/operator/cluster-responses.js';
import type {
  EventInfo,
  MovesResponse,
  PlanResponse,
} from '../../control/operator/operation-responses.js';
import { type ControlAddress, callControl } from './request.js';

export type { EventInfo, GuestReason, InboxResponse, MovesResponse, PlanResponse };

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
  client(clientId: string): Promise<ClientView>;
  moves(): Promise<MovesResponse>;
  plan(): Promise<PlanResponse>;
  rebalance(request: { on: Position; reason?: string }): Promise<PlanResponse>;
  perform(operation: SimpleOperation, request: { reason?: string }): Promise<MovesResponse>;
  drain(edgeId: string, request: DrainRequest): Promise<object>;
  cordon(edgeId: string, request: Pick<DrainRequest, 'force' | 'reason'>): Promise<object>;
  undrain(edgeId: string, request: { reason?: string }): Promise<object>;
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
    client: (clientId) => get(`/v1/clients/${encodeURIComponent(clientId)}`),
    moves: () => get('/v1/moves'),
    plan: () => get('/v1/plan'),
    rebalance: (request) => post('/v1/rebalance', request),
    perform: (operation, request) => post(`/v1/${operation}`, request),
    drain: (edgeId, request) => post(`${edge(edgeId)}/drain`, request),
    cordon: (edgeId, request) => post(`${edge(edgeId)}/cordon`, request),
    undrain: (edgeId, request) => post(`${edge(edgeId)}/undrain`, request),
    events: async (after) =>
      (await get<{ events: EventInfo[] }>(`/v1/events?after=${after}`)).events,
  };
}

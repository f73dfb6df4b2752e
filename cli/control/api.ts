/** Control's HTTP API, as far as the CLI reads it. */
import type { Position } from '../../common/cluster/assignment.js';
import type {
  EventInfo,
  MovesAnswer,
  PlanAnswer,
} from '../../control/operator/operation-answers.js';
import { type ControlAddress, callControl } from './request.js';

export type { EventInfo, MovesAnswer, PlanAnswer };

export interface ClusterView {
  readonly position: { readonly incarnation: number; readonly epoch: number };
  readonly shardCount: number;
  readonly shardsUnowned: number;
  readonly edgesAlive: number;
  readonly connections: number;
  readonly guests: number;
  readonly shardsMaxOverMean: number;
  /** Id of the control that decides. */
  readonly leader: string | null;
}

/** Null: control does not know at the moment. */
export interface EdgeView {
  readonly id: string;
  readonly state: string;
  /** Null: the assignment does not have the edge. */
  readonly intent: 'none' | 'cordoned' | 'draining' | null;
  readonly advertisedUrl: string;
  readonly shardsOwned: number;
  readonly shardsSubscribed: number | null;
  readonly connections: number | null;
  readonly guests: number | null;
  readonly ready: boolean | null;
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
  readonly tag: string;
  /** Null while nobody owns the shard. */
  readonly owner: string | null;
  readonly ownerUrl: string | null;
  readonly connections: readonly {
    readonly edgeId: string;
    readonly connectedAtMs: number;
    readonly protocol: string;
    readonly remoteAddress: string;
    readonly guest: boolean;
  }[];
  /** False when not every edge that could hold the client answered in time. */
  readonly complete: boolean;
  /** The shard on its way, if it is. */
  readonly move: {
    readonly from: string;
    readonly to: string;
    readonly phase: 'acquiring' | 'handing-over';
  } | null;
}

export interface DrainRequest {
  readonly rate?: number;
  /** From now. */
  readonly deadlineMs?: number;
  readonly force?: boolean;
  readonly reason?: string;
}

export type Order = 'pause' | 'resume' | 'abort' | 'confirm-lost-edges';

/** Each rejects with a Failure when control cannot be reached, and a Rejected when it rejects. */
export interface ControlApi {
  cluster(): Promise<ClusterView>;
  edges(): Promise<EdgeView[]>;
  memory(edgeId: string): Promise<MemoryView>;
  client(clientId: string): Promise<ClientView>;
  moves(): Promise<MovesAnswer>;
  plan(): Promise<PlanAnswer>;
  rebalance(request: { on: Position; reason?: string }): Promise<PlanAnswer>;
  tell(order: Order, request: { reason?: string }): Promise<MovesAnswer>;
  drain(edgeId: string, request: DrainRequest): Promise<object>;
  cordon(edgeId: string, request: Pick<DrainRequest, 'force' | 'reason'>): Promise<object>;
  undrain(edgeId: string, request: { reason?: string }): Promise<object>;
  /** Oldest first. */
  events(after: number): Promise<EventInfo[]>;
}

/** @param token where control asks for one */
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
    tell: (order, request) => post(`/v1/${order}`, request),
    drain: (edgeId, request) => post(`${edge(edgeId)}/drain`, request),
    cordon: (edgeId, request) => post(`${edge(edgeId)}/cordon`, request),
    undrain: (edgeId, request) => post(`${edge(edgeId)}/undrain`, request),
    events: async (after) =>
      (await get<{ events: EventInfo[] }>(`/v1/events?after=${after}`)).events,
  };
}

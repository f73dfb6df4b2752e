/** Control's HTTP API, as far as the CLI reads it. */
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { Failure } from './failure.js';

export interface ClusterView {
  readonly position: { readonly incarnation: number; readonly epoch: number };
  readonly shardCount: number;
  readonly shardsUnowned: number;
  readonly edgesAlive: number;
  readonly connections: number;
  readonly guests: number;
  readonly shardsMaxOverMean: number;
}

/** Null: control does not know at the moment. */
export interface EdgeView {
  readonly id: string;
  readonly state: string;
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
}

/** Each rejects with a Failure when control cannot be reached or refuses. */
export interface ControlApi {
  cluster(): Promise<ClusterView>;
  edges(): Promise<EdgeView[]>;
  memory(edgeId: string): Promise<MemoryView>;
  client(clientId: string): Promise<ClientView>;
}

const ANSWER_DEADLINE_MS = 10_000;

export function controlApi(url: string): ControlApi {
  return {
    cluster: () => getJson<ClusterView>(url, '/v1/cluster'),
    edges: async () => (await getJson<{ edges: EdgeView[] }>(url, '/v1/edges')).edges,
    memory: (edgeId) => getJson<MemoryView>(url, `/v1/edges/${encodeURIComponent(edgeId)}/memory`),
    client: (clientId) => getJson<ClientView>(url, `/v1/clients/${encodeURIComponent(clientId)}`),
  };
}

/** Not `fetch`: it would normalise the path, and `..` is a good clientId. */
async function getJson<Answer>(url: string, path: string): Promise<Answer> {
  const { statusCode, body } = await request(url, path);
  let answer: (Answer & { error?: { code: string; message: string } }) | undefined;
  try {
    answer = JSON.parse(body);
  } catch {
    answer = undefined;
  }
  if (statusCode === 200 && answer !== undefined) return answer;
  const refused = answer?.error;
  throw new Failure(
    refused
      ? `${refused.code}: ${refused.message}`
      : `${url} answered ${statusCode} to ${path} and is probably not Longline's control`,
  );
}

async function request(url: string, path: string): Promise<{ statusCode: number; body: string }> {
  try {
    const call = get(url, { path, agent: false, signal: AbortSignal.timeout(ANSWER_DEADLINE_MS) });
    const [response] = (await once(call, 'response')) as [IncomingMessage];
    return { statusCode: response.statusCode!, body: await text(response) };
  } catch (error) {
    throw explained(error as NodeJS.ErrnoException, url);
  }
}

function explained(error: NodeJS.ErrnoException, url: string): Failure {
  if (error.code === 'ECONNREFUSED') return notRunning(new URL(url).host);
  if (error.name === 'AbortError') {
    return new Failure(`${url} did not answer within ${ANSWER_DEADLINE_MS} ms`);
  }
  return new Failure(`cannot reach ${url}: ${error.message}`);
}

export function notRunning(address: string): Failure {
  return new Failure(`nothing listens at ${address}; is the cluster running? (npm start)`);
}

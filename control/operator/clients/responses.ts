/** Schemas of responses about connected clients, disconnects and revocations. */
import { z } from 'zod';
import { count } from '../cluster-responses.js';
import { filterShape } from './filter.js';

export const clientInfo = z.object({
  clientId: z.string(),
  edgeId: z.string(),
  protocol: z.string(),
  remoteAddress: z.string(),
  connectedAtMs: count.describe('Unix time in milliseconds, by the clock of the edge.'),
  connectedForMs: count.describe('Milliseconds since the client connected.'),
  labels: z
    .string()
    .describe('Such as `app=ios,version=5.2`. Empty: none, or the edge does not know them.'),
  guest: z.boolean().describe('True: the edge does not own the shard of the client.'),
  bytesWaiting: count.describe('Bytes that wait because the device does not read.'),
  unconfirmed: count.describe(
    'Durable pushes written since the device last confirmed one on this connection; at least so many ' +
      'are unconfirmed. 65,535 stands for more.',
  ),
  dropped: count.describe(
    'Live-only pushes dropped because bytes were waiting, as they had asked. 65,535 stands for more.',
  ),
});

const silentEdges = z
  .array(z.string())
  .describe('Edges that did not answer in time: clients of them are missing.');

export const clientsResponse = z.object({
  clients: z.array(clientInfo).describe('By edge.'),
  next: z
    .string()
    .nullable()
    .describe(
      '`page` of the next page. Null: this is the last one. A page may have fewer clients than the ' +
        'limit, or none, and still have a next one, because control answers in time.',
    ),
  silentEdges,
});

export const slowClientsResponse = z.object({
  clients: z.array(clientInfo).describe('The worst first.'),
  silentEdges,
});

export const inboxListResponse = z.object({
  clientId: z.string(),
  pushes: z
    .array(
      z.object({
        messageId: z.string(),
        bytes: count.describe('Payload bytes.'),
        ageMs: z.int(),
        ttlMs: z.int().describe('Rest of its TTL. 0 or less: it has expired.'),
        contentType: z.string().describe('Empty: none.'),
      }),
    )
    .describe('Oldest first.'),
  next: z
    .string()
    .nullable()
    .describe('`after` of the next page, which may be a short one. Null: this is the last one.'),
});

export const payloadResponse = z.object({
  messageId: z.string(),
  contentType: z.string().describe('Empty: none.'),
  bytes: count.describe('Of the whole payload. The fields below have at most its first 65,536.'),
  text: z.string().nullable().describe('Null: it is not UTF-8.'),
  base64: z.string(),
});

export const pushResponse = z.object({
  verdict: z.string().describe('As of a live-only push through a router, such as `WRITTEN`.'),
  ms: z.number().describe('Milliseconds until the verdict.'),
});

export const trailResponse = z.object({
  areKept: z
    .boolean()
    .describe('True: the shard of the client has events, so LONGLINE_EVENTS is set.'),
  newestId: z
    .string()
    .nullable()
    .describe(
      'The newest event of the shard, of any client: `after` of the next request. Null: none.',
    ),
  events: z
    .array(
      z.object({
        id: z.string(),
        atMs: count.describe('Unix time in milliseconds, by the clock of Redis.'),
        type: z.string().describe('Such as `client.connected`.'),
        edgeId: z.string().optional(),
        protocol: z.string().optional(),
        reason: z.string().optional(),
        durationMs: z.number().optional(),
        messageId: z.string().optional(),
      }),
    )
    .describe('Oldest first: up to 50, among the last 500 events of the shard.'),
});

export const DISCONNECT_STATES = {
  running: 'in progress',
  finished: 'all edges that answered were looked at',
  cancelled: 'an operator cancelled it',
  interrupted: 'another control leads',
} as const;

export const disconnectInfo = z.object({
  id: count,
  filter: z.object(filterShape).describe('Absent fields: any. No field: every client.'),
  rate: count.describe('Clients per second in the whole cluster.'),
  state: z.enum(Object.keys(DISCONNECT_STATES) as (keyof typeof DISCONNECT_STATES)[]).describe(
    Object.entries(DISCONNECT_STATES)
      .map(([state, meaning]) => `${state}: ${meaning}.`)
      .join(' '),
  ),
  clients: count.describe('Clients disconnected so far.'),
  edgesDone: count.describe('Edges whose clients were all looked at.'),
  edges: count,
  silentEdges: z.array(z.string()).describe('Edges that did not answer: their clients stay.'),
  ageMs: count.describe('Milliseconds since the start.'),
  actor: z.string(),
  reason: z.string(),
});

export const disconnectsResponse = z.object({
  disconnects: z.array(disconnectInfo).describe('Newest first; since this control leads.'),
});

export const revocationInfo = z.object({
  user: z.string().describe('Empty: all users.'),
  beforeMs: count.describe('Tokens issued before this Unix time in milliseconds are revoked.'),
});

export const revocationsResponse = z.object({
  revocations: z.array(revocationInfo).describe('By user.'),
});

export const unrevokeResponse = z.object({ user: z.string(), wasRevoked: z.boolean() });

export type ClientInfo = z.infer<typeof clientInfo>;
export type ClientsResponse = z.infer<typeof clientsResponse>;
export type SlowClientsResponse = z.infer<typeof slowClientsResponse>;
export type InboxListResponse = z.infer<typeof inboxListResponse>;
export type PayloadResponse = z.infer<typeof payloadResponse>;
export type PushResponse = z.infer<typeof pushResponse>;
export type TrailResponse = z.infer<typeof trailResponse>;
export type DisconnectInfo = z.infer<typeof disconnectInfo>;
export type DisconnectsResponse = z.infer<typeof disconnectsResponse>;
export type RevocationInfo = z.infer<typeof revocationInfo>;
export type RevocationsResponse = z.infer<typeof revocationsResponse>;
export type UnrevokeResponse = z.infer<typeof unrevokeResponse>;

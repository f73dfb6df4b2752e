/**
 * Schemas of responses about the state of the cluster: TypeScript types and the OpenAPI document are
 * derived from them. Null means unknown or absent; an unknown number is never 0.
 */
import { z } from 'zod';
import { GUEST_REASONS, type GuestReason } from '../membership/guest-reason.js';

export const count = z.int().min(0);

export const position = z
  .object({ incarnation: count, epoch: count })
  .describe('Version of an assignment; ordered by incarnation, then by epoch.');

export const intent = z
  .enum(['none', 'cordoned', 'draining'])
  .describe(
    'Cordoned: the edge gets no more shards. Draining: it loses all its shards and clients.',
  );

export const move = z.object({
  shard: count,
  from: z.string(),
  to: z.string(),
  phase: z
    .enum(['acquiring', 'handing-over'])
    .describe(
      'Acquiring: `from` owns the shard and `to` subscribes to it. Handing over: `to` owns it and ' +
        '`from` sends its clients there.',
    ),
});

export const errorResponse = z
  .object({ error: z.object({ code: z.string(), message: z.string() }) })
  .describe('Body of every error. The code is stable; the message is for people and may change.');

export const clusterResponse = z.object({
  position,
  shardCount: count,
  shardsUnowned: count,
  edgesAlive: count,
  connections: count.describe('Connections on all edges that report.'),
  guests: count.describe('Connections on an edge that does not own their shard.'),
  shardsMaxOverMean: z
    .number()
    .describe(
      'Largest number of shards of an edge divided by the mean. 1 is even, 0 is no edge alive.',
    ),
  leader: z.string().nullable().describe('Id of the leading control.'),
  build: z
    .object({
      version: z.string(),
      node: z.string().describe('Release of Node.js.'),
      commit: z.string().describe('Git commit. Empty: it was not recorded at the build.'),
    })
    .describe('Build of the control that answered.'),
});

const edge = z.object({
  id: z.string(),
  incarnation: z.string(),
  advertisedUrl: z.string(),
  state: z
    .enum(['alive', 'suspect', 'dead'])
    .describe(
      'Suspect: the session has ended and the lease has not expired. Dead: the lease has expired, ' +
        'and other edges get the shards.',
    ),
  intent: intent.nullable().describe('Null: the edge is not in the assignment.'),
  capacity: count.nullable().describe('Maximum number of connections.'),
  shardsOwned: count,
  shardsSubscribed: count.nullable(),
  connections: count.nullable(),
  guests: count.nullable(),
  ready: z.boolean().nullable().describe('Result of the readiness check of the edge.'),
  reasons: z.array(z.string()).describe('What does not work on the edge, as in its /readyz.'),
  lastReportAtMs: count.nullable().describe('Unix time in milliseconds, by the clock of control.'),
  lastReportAgeMs: count.nullable().describe('Milliseconds since the last report.'),
});

export const edgesResponse = z.object({ edges: z.array(edge) });

export const edgeResponse = z.object({
  edge,
  shards: z.array(count).describe('Shards that the edge owns, in ascending order.'),
});

const memoryCost = z.object({
  name: z.string(),
  bytes: count,
  bytesPerConnection: z
    .number()
    .describe('Growth since the edge had no connection, divided by its connections.'),
  meaning: z.string(),
});

export const memoryResponse = z.object({
  edgeId: z.string(),
  connections: count,
  parts: z
    .array(memoryCost)
    .describe(
      'Parts whose name starts with `kernel/` are memory of the kernel. The others add up to the ' +
        'resident memory of the process.',
    ),
});

export const shardsResponse = z.object({
  shards: z.array(
    z.object({
      shard: count,
      tag: z.string().describe('Redis hash tag.'),
      channel: z.string().describe('Redis channel, with which the keys of the shard start.'),
      owner: z.string().nullable(),
      connections: count.nullable().describe('Null: the owner does not report.'),
    }),
  ),
});

const messageId = z.string().nullable();

const inbox = z.object({
  count: count.describe('Stored pushes, expired ones that were not removed yet included.'),
  bytes: count.describe('Payload bytes of the stored pushes.'),
  oldestId: messageId.describe('Null: the inbox is empty; the next two are null as well.'),
  oldestAgeMs: z.int().nullable(),
  oldestTtlMs: z.int().nullable().describe('Rest of its TTL. 0 or less: it has expired.'),
  newestId: messageId.describe('Newest id ever assigned for the client, which lives 24 hours.'),
  confirmedId: messageId.describe('Id up to which the client has confirmed everything.'),
  goneId: messageId.describe(
    'Newest id that left the inbox unconfirmed: it expired, was over a bound, or was skipped.',
  ),
  ttlMs: z.int().nullable().describe('Time until the last push expires. Null: it is empty.'),
});

export const clientResponse = z.object({
  clientId: z.string(),
  shard: count,
  tag: z.string().describe('Redis hash tag of the shard.'),
  channel: z.string().describe('Redis channel of the shard, with which its keys start.'),
  owner: z.string().nullable(),
  ownerUrl: z.string().nullable(),
  connections: z.array(
    z.object({
      edgeId: z.string(),
      connectedAtMs: count.describe('Unix time in milliseconds, by the clock of the edge.'),
      connectedForMs: count.describe('Milliseconds since the client connected.'),
      protocol: z.string(),
      remoteAddress: z.string(),
      guest: z.boolean().describe('True: the edge does not own the shard of the client.'),
      guestReason: z
        .enum(Object.keys(GUEST_REASONS) as GuestReason[])
        .nullable()
        .describe(
          `Why it is a guest. ${Object.entries(GUEST_REASONS)
            .map(([reason, meaning]) => `${reason}: ${meaning}.`)
            .join(' ')} Null: it is none.`,
        ),
    }),
  ),
  inbox: inbox
    .nullable()
    .describe('Stored pushes that the client has not confirmed. Null: Redis did not answer.'),
  complete: z
    .boolean()
    .describe('False: an edge that could have a connection of the client did not answer in time.'),
  reconnects: z
    .array(
      z.object({
        edgeId: z.string(),
        ends: count.describe('Connections that ended in the last minute. 100 stands for more.'),
        reasons: z.array(z.string()).describe('Why the last five ended, newest first.'),
      }),
    )
    .describe(
      'Edges on which at least five connections of the client ended in the last minute; of each ' +
        'edge, only the 50 clients whose connections ended last are known.',
    ),
  move: move.nullable().describe('Move of the shard in progress, if there is one.'),
});

export type InboxResponse = z.infer<typeof inbox>;
export type ClusterResponse = z.infer<typeof clusterResponse>;
export type EdgeInfo = z.infer<typeof edge>;
export type EdgesResponse = z.infer<typeof edgesResponse>;
export type EdgeResponse = z.infer<typeof edgeResponse>;
export type MemoryCost = z.infer<typeof memoryCost>;
export type MemoryResponse = z.infer<typeof memoryResponse>;
export type ShardsResponse = z.infer<typeof shardsResponse>;
export type ClientResponse = z.infer<typeof clientResponse>;

/**
 * What operators get, as schemas: the types of the queries and the OpenAPI document come from here.
 * Null means unknown, or that there is none; a number that is not known is never 0.
 */
import { z } from 'zod';

export const count = z.int().min(0);

export const position = z
  .object({ incarnation: count, epoch: count })
  .describe('Where an assignment stands in the history; compared by incarnation, then epoch.');

export const intent = z
  .enum(['none', 'cordoned', 'draining'])
  .describe('Cordoned: it gets no more shards. Draining: it is to lose all its shards.');

export const move = z.object({
  shard: count,
  from: z.string(),
  to: z.string(),
  phase: z
    .enum(['acquiring', 'handing-over'])
    .describe('Acquiring: from owns the shard. Handing over: to does, and from sends its clients.'),
});

export const errorAnswer = z
  .object({ error: z.object({ code: z.string(), message: z.string() }) })
  .describe('Every rejection. The code is stable, the message is for people.');

export const clusterAnswer = z.object({
  position,
  shardCount: count,
  shardsUnowned: count,
  edgesAlive: count,
  connections: count.describe('Of the edges whose counts are known.'),
  guests: count.describe('Connections on an edge that does not own their shard.'),
  shardsMaxOverMean: z
    .number()
    .describe(
      'Largest share of shards over the mean share; 1 is perfect, 0 when no edge is alive.',
    ),
  leader: z.string().nullable().describe('Id of the control that decides.'),
});

const edge = z.object({
  id: z.string(),
  incarnation: z.string(),
  advertisedUrl: z.string(),
  state: z
    .enum(['alive', 'suspect', 'dead'])
    .describe('Suspect: its session broke. Dead: its lease ran out, its shards are others’.'),
  intent: intent.nullable().describe('Null: the assignment does not have the edge.'),
  capacity: count.nullable(),
  shardsOwned: count,
  shardsSubscribed: count.nullable(),
  connections: count.nullable(),
  guests: count.nullable(),
  ready: z.boolean().nullable().describe('What its own /readyz says.'),
  lastReportAtMs: count.nullable().describe('Unix time in milliseconds.'),
});

export const edgesAnswer = z.object({ edges: z.array(edge) });

export const edgeAnswer = z.object({
  edge,
  shards: z.array(count).describe('The shards that it owns, ascending.'),
});

const memoryCost = z.object({
  name: z.string(),
  bytes: count,
  bytesPerConnection: z
    .number()
    .describe('What has been added since the edge had no connection, over its connections.'),
  meaning: z.string(),
});

export const memoryAnswer = z.object({
  edgeId: z.string(),
  connections: count,
  parts: z
    .array(memoryCost)
    .describe('Those of the kernel come on top of the others, which add up to resident memory.'),
});

export const shardsAnswer = z.object({
  shards: z.array(
    z.object({
      shard: count,
      tag: z.string().describe('The Redis tag: the channel is ll:{tag}.'),
      owner: z.string().nullable(),
      connections: count.nullable().describe('Null while the counts of its owner are unknown.'),
    }),
  ),
});

export const clientAnswer = z.object({
  clientId: z.string(),
  shard: count,
  tag: z.string(),
  owner: z.string().nullable(),
  ownerUrl: z.string().nullable(),
  connections: z.array(
    z.object({
      edgeId: z.string(),
      connectedAtMs: count.describe('Unix time in milliseconds, by the clock of the edge.'),
      protocol: z.string(),
      remoteAddress: z.string(),
      guest: z.boolean().describe('The edge does not own the shard of the client.'),
    }),
  ),
  complete: z
    .boolean()
    .describe('False when not every edge that could hold the client answered in time.'),
  move: move.nullable().describe('Its shard on its way, if it is.'),
});

export type ClusterAnswer = z.infer<typeof clusterAnswer>;
export type EdgeInfo = z.infer<typeof edge>;
export type EdgesAnswer = z.infer<typeof edgesAnswer>;
export type EdgeAnswer = z.infer<typeof edgeAnswer>;
export type MemoryCost = z.infer<typeof memoryCost>;
export type MemoryAnswer = z.infer<typeof memoryAnswer>;
export type ShardsAnswer = z.infer<typeof shardsAnswer>;
export type ClientAnswer = z.infer<typeof clientAnswer>;

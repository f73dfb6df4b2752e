/**
 * Schemas of responses about the state of the cluster: TypeScript types and the OpenAPI document
 * are derived from them. Null means unknown or absent; an unknown number is never 0.
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
  reasons: z.array(z.string()).describe('What does not work at that control, as in its /readyz.'),
  redisMasters: z
    .array(z.object({ address: z.string(), delivers: z.boolean() }))
    .describe('Delivers: a message of that control returned through the master in the last 3 s.'),
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
  zone: z.string().describe('Failure domain. Empty: none.'),
  eventLoopLagMs: z
    .number()
    .nullable()
    .describe('99th percentile of the lag of its event loop since the report before.'),
  memoryBytes: count.nullable().describe('Resident memory of its process.'),
  gaps: count
    .nullable()
    .describe(
      'Gaps in the sequence numbers of durable pushes that it has found in the last 15 minutes. After ' +
        'each it has read inboxes again.',
    ),
  version: z.string().nullable().describe('Version of Longline. Null: it has not said.'),
  commit: z
    .string()
    .nullable()
    .describe('Git commit of its build. Null: it has not said, or it was not recorded.'),
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
      ownedSince: position
        .nullable()
        .describe(
          'Version of the assignment in which it got its owner, or lost it. Null: before the control ' +
            'that answered started.',
        ),
    }),
  ),
});

export const shardMapResponse = z
  .object({
    edges: z.array(z.string()).describe('Edges of the assignment.'),
    owners: z.array(z.int().min(-1)).describe('Index in `edges`. -1: no owner.'),
    connections: z.array(count.nullable()).describe('Null: the owner does not report.'),
    pushesPerSecond: z
      .array(z.number().min(0).nullable())
      .describe('Pushes written to devices, smoothed over about a minute. Null: as above.'),
    masters: z
      .array(z.string())
      .describe('Addresses of the Redis masters, as control reaches them.'),
    masterOf: z.array(z.int().min(-1)).describe('Index in `masters`. -1: no master is known.'),
    versions: z.array(position).describe('Versions of the assignment.'),
    ownedSince: z
      .array(z.int().min(-1))
      .describe(
        'Index in `versions` of the one in which the shard got its owner, or lost it. -1: before the ' +
          'control that answered started.',
      ),
  })
  .describe('One entry per shard in each list but `edges`, `masters` and `versions`.');

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
      clientId: z.string(),
      edgeId: z.string(),
      connectedAtMs: count.describe('Unix time in milliseconds, by the clock of the edge.'),
      connectedForMs: count.describe('Milliseconds since the client connected.'),
      protocol: z.string(),
      remoteAddress: z.string(),
      labels: z
        .string()
        .describe('Such as `app=ios,version=5.2`. Empty: none, or the edge does not know them.'),
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

const build = {
  version: z.string().describe('Version of Longline. Empty: not known.'),
  commit: z.string().describe('Git commit of its build. Empty: not known.'),
};

export const membersResponse = z.object({
  controls: z.array(
    z.object({
      id: z.string(),
      url: z.string().describe('URL of its operator API.'),
      leads: z.boolean(),
      ...build,
      node: z.string().describe('Release of Node.js.'),
      silent: z.boolean().describe('True: it has not noted itself in Redis for 15 s.'),
      lastNoteAgeMs: count.describe('Milliseconds since then. After a minute it is forgotten.'),
    }),
  ),
  routers: z
    .array(z.object({ id: z.string(), ...build, lastReportAgeMs: count }))
    .describe('Routers that report to the leader.'),
  builds: count.describe('Pairs of version and commit among all processes, edges included.'),
  settings: z
    .array(
      z.object({
        name: z.string(),
        groups: z
          .array(z.object({ processes: count, ids: z.array(z.string()).describe('Up to ten.') }))
          .describe('Processes with the same value, the largest group first.'),
      }),
    )
    .describe(
      'Settings that are not alike in all processes. Their values are not known to control.',
    ),
});

const perSecond = z.array(z.number().min(0));

export const historyResponse = z
  .object({
    intervalMs: count.describe('Milliseconds between points.'),
    atMs: z.array(count).describe('Unix times in milliseconds, ascending.'),
    connections: z.array(count),
    connectsPerSecond: perSecond,
    eventsPerSecond: perSecond.describe('Events of the log.'),
    pushesPerSecond: z
      .record(z.string(), perSecond)
      .describe('By verdict; only verdicts that occurred.'),
    p50Ms: z
      .array(z.number().nullable())
      .describe('Median time from a push to its verdict. Null: there was no push.'),
    p99Ms: z.array(z.number().nullable()).describe('99th percentile of the same.'),
    routers: z
      .array(z.object({ id: z.string(), lastReportAgeMs: count }))
      .describe('Routers that report.'),
  })
  .describe(
    'One entry per point in each list: the last 15 minutes, or the time since this control leads.',
  );

export type MembersResponse = z.infer<typeof membersResponse>;
export type HistoryResponse = z.infer<typeof historyResponse>;
export const userResponse = z.object({
  user: z.string(),
  devices: z
    .array(clientResponse)
    .describe('Its devices; the client of this name if the user has none.'),
  more: z.boolean().describe('True: the user has more devices than are listed.'),
});

export type UserResponse = z.infer<typeof userResponse>;
export type InboxResponse = z.infer<typeof inbox>;
export type ClusterResponse = z.infer<typeof clusterResponse>;
export type EdgeInfo = z.infer<typeof edge>;
export type EdgesResponse = z.infer<typeof edgesResponse>;
export type EdgeResponse = z.infer<typeof edgeResponse>;
export type MemoryCost = z.infer<typeof memoryCost>;
export type MemoryResponse = z.infer<typeof memoryResponse>;
export type ShardsResponse = z.infer<typeof shardsResponse>;
export type ShardMapResponse = z.infer<typeof shardMapResponse>;
export type ClientResponse = z.infer<typeof clientResponse>;

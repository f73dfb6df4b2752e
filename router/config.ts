import { randomBytes } from 'node:crypto';
import { isIP } from 'node:net';
import { z } from 'zod';
import { deviceAuth, deviceAuthSettings, type JwtConfig } from '../common/auth/device-settings.js';
import {
  grpcTlsSettings,
  type LinkConfig,
  linkConfig,
  linkTlsSettings,
} from '../common/auth/peer-settings.js';
import type { InboxBounds } from '../common/cluster/inbox.js';
import {
  ConfigError,
  type Env,
  integer,
  parseSettings,
  port,
  processName,
  type SharedConfig,
  servingSettings,
  sharedConfig,
  sharedSettings,
} from '../common/process/config.js';
import type { TransportName } from '../common/transport/open-transport.js';
import { AcceptLevel } from '../proto/gen/longline/v1/push.js';
import type { FrontConfig } from './front/front.js';
import { type BackendConfig, backendConfig, backendSettings } from './push/backend-settings.js';
import type { Safety } from './push/safe-writer.js';

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * Descriptors that a router with a front needs beside its devices: Redis, gRPC, HTTP, standard
 * streams, and devices that are being rejected.
 */
const DESCRIPTORS_RESERVED = 1_024;

const settings = {
  ...sharedSettings,
  ...servingSettings,
  ...deviceAuthSettings,
  ...linkTlsSettings,
  ...grpcTlsSettings,
  ...backendSettings,
  LONGLINE_ROUTER_ID: processName.optional(),
  LONGLINE_ROUTER_HTTP_PORT: port(7100),
  LONGLINE_ROUTER_GRPC_PORT: port(7101),
  LONGLINE_ROUTER_WAIT_MS: integer(10, 60_000).default(2_000),
  LONGLINE_ROUTER_IN_FLIGHT_MAX: integer(1, 10_000_000).default(100_000),
  LONGLINE_ROUTER_TTL_DEFAULT_MS: integer(0, 30 * DAY_MS).default(60_000),
  LONGLINE_ROUTER_TTL_MAX_MS: integer(0, 30 * DAY_MS).default(7 * DAY_MS),
  LONGLINE_ROUTER_INBOX_COUNT_MAX: integer(1, 1_000_000).default(1_000),
  LONGLINE_ROUTER_INBOX_BYTES_MAX: integer(1, 1024 * 1024 * 1024).default(4 * 1024 * 1024),
  LONGLINE_ROUTER_ACCEPT_LEVEL: z
    .string()
    .regex(
      /^(accepted|fsynced|replicated:[1-9]\d?)$/,
      'expected accepted, fsynced or replicated:<n>',
    )
    .default('accepted'),
  LONGLINE_ROUTER_PAYLOAD_BYTES_MAX: integer(1, 16 * 1024 * 1024).default(1024 * 1024),
  LONGLINE_ROUTER_FRONT_PORT: integer(0, 65_535).optional(),
  LONGLINE_ROUTER_FRONT_DEVICES_MAX: integer(1, 5_000_000).optional(),
  LONGLINE_ROUTER_FRONT_SOURCE_ADDRESSES: z
    .string()
    .transform((text) => text.split(',').map((address) => address.trim()))
    .pipe(z.array(z.string().refine((text) => isIP(text) !== 0, 'expected IP addresses')))
    .default([]),
  LONGLINE_ROUTER_FRONT_PENDING_MAX: integer(1, 5_000_000).default(10_000),
  LONGLINE_ROUTER_FRONT_HEAD_BYTES_MAX: integer(256, 65_536).default(8_192),
  LONGLINE_ROUTER_FRONT_HEAD_TIMEOUT_MS: integer(100, 60_000).default(10_000),
  LONGLINE_ROUTER_FRONT_CONNECT_TIMEOUT_MS: integer(100, 60_000).default(5_000),
  LONGLINE_ROUTER_FRONT_DRAIN_MS: integer(0, 3_600_000).default(10_000),
  LONGLINE_ROUTER_CLIENT_PUSHES_PER_SECOND_MAX: integer(1, 10_000_000).default(5_000),
  LONGLINE_ROUTER_BACKEND_PUSHES_PER_SECOND_MAX: integer(1, 10_000_000).optional(),
};

export interface RouterConfig extends SharedConfig {
  /** Names the router in logs and on its reply channels; any unique name, random by default. */
  readonly routerId: string;
  /** Devices ask `/connect` here. 0: any free port. */
  readonly httpPort: number;
  /** Backends push here. 0: any free port. */
  readonly grpcPort: number;
  /**
   * How long a push waits for its verdict unless the caller says otherwise. Below a second or so,
   * pushes during a failover of Redis end as UNKNOWN that would have had an answer.
   */
  readonly waitMs: number;
  /** Questions to edges in flight, of all callers together; more are rejected as OVERLOADED. */
  readonly inFlightMax: number;
  /** How long a push is kept that does not say. 0: live only. */
  readonly ttlDefaultMs: number;
  /** A longer TTL is rejected. Every stored push costs Redis its payload and about 100 bytes. */
  readonly ttlMaxMs: number;
  /** Bounds of one client's inbox; over either, its oldest pushes go. */
  readonly inbox: InboxBounds;
  /**
   * What a durable push must be safe against before it is answered, unless it says so itself;
   * undefined: it is answered when Redis has it.
   */
  readonly safety: Safety | undefined;
  /** Larger payloads are rejected. An edge's send buffer takes one of any size when it is empty. */
  readonly payloadBytesMax: number;
  /** `host:port` of the gRPC of each control. */
  readonly controlAddresses: readonly string[];
  readonly corsOrigins: readonly string[] | undefined;
  /** What holds the connections of the front; undefined: native where it was built, else net. */
  readonly transport: TransportName | undefined;
  /** Undefined: the router has no front. */
  readonly front: RouterFrontConfig | undefined;
  /** How devices are authenticated; undefined: they are believed. */
  readonly jwt: JwtConfig | undefined;
  /** What control is shown. */
  readonly link: LinkConfig;
  /** Who may push. */
  readonly backends: BackendConfig;
  /** To each client, here: far above what a device can make use of, far below what would bury it. */
  readonly clientPushesPerSecondMax: number;
  /** Of each backend, here; undefined: no bound. */
  readonly pushesPerSecondMax: number | undefined;
}

export interface RouterFrontConfig extends FrontConfig {
  /** Devices connect here. 0: any free port. */
  readonly port: number;
  /**
   * Devices that are held; more are rejected with FRONT_FULL. Each takes two descriptors. Default: as
   * many as the open-file limit allows, less 1024 descriptors for everything else; more than that is
   * an error at the start.
   */
  readonly devicesMax: number;
  /**
   * Addresses of this machine from which edges are connected to, each in its turn; empty: the system
   * chooses. Each has about 28,000 ports (net.ipv4.ip_local_port_range) for the devices of one edge.
   */
  readonly sourceAddresses: readonly string[];
  /** Devices that wait for one edge; more are rejected as OVERLOADED. */
  readonly waitingMax: number;
  /** As an edge's; a bound below that of edges makes the lower one count. */
  readonly headBytesMax: number;
  readonly headTimeoutMs: number;
  /**
   * From the introduction to a connection to the owner. Longer than an edge takes to start again
   * in its place; as long, a device waits for one that is gone.
   */
  readonly connectTimeoutMs: number;
  /** SIGTERM lets the devices go evenly over this time; 0: at once. */
  readonly drainMs: number;
}

/**
 * @param openFilesMax the process's limit on open files
 * @throws ConfigError with every problem
 */
export function parseRouterConfig(env: Env, openFilesMax: number): RouterConfig {
  const parsed = parseSettings('router', settings, env);
  const problems: string[] = [];
  if (parsed.LONGLINE_ROUTER_TTL_DEFAULT_MS > parsed.LONGLINE_ROUTER_TTL_MAX_MS) {
    problems.push('LONGLINE_ROUTER_TTL_DEFAULT_MS: it is over LONGLINE_ROUTER_TTL_MAX_MS');
  }
  const jwt = deviceAuth(parsed, problems);
  const link = linkConfig(parsed, problems);
  const backends = backendConfig(parsed, problems);
  if (problems.length > 0) throw new ConfigError('router', problems);
  return {
    ...sharedConfig(parsed),
    routerId: parsed.LONGLINE_ROUTER_ID ?? `router-${randomBytes(4).toString('hex')}`,
    httpPort: parsed.LONGLINE_ROUTER_HTTP_PORT,
    grpcPort: parsed.LONGLINE_ROUTER_GRPC_PORT,
    waitMs: parsed.LONGLINE_ROUTER_WAIT_MS,
    inFlightMax: parsed.LONGLINE_ROUTER_IN_FLIGHT_MAX,
    ttlDefaultMs: parsed.LONGLINE_ROUTER_TTL_DEFAULT_MS,
    ttlMaxMs: parsed.LONGLINE_ROUTER_TTL_MAX_MS,
    inbox: {
      countMax: parsed.LONGLINE_ROUTER_INBOX_COUNT_MAX,
      bytesMax: parsed.LONGLINE_ROUTER_INBOX_BYTES_MAX,
    },
    safety: parseSafety(parsed.LONGLINE_ROUTER_ACCEPT_LEVEL),
    payloadBytesMax: parsed.LONGLINE_ROUTER_PAYLOAD_BYTES_MAX,
    controlAddresses: parsed.LONGLINE_CONTROL_ADDRESS,
    corsOrigins: parsed.LONGLINE_CORS_ORIGINS,
    jwt,
    link,
    backends,
    clientPushesPerSecondMax: parsed.LONGLINE_ROUTER_CLIENT_PUSHES_PER_SECOND_MAX,
    pushesPerSecondMax: parsed.LONGLINE_ROUTER_BACKEND_PUSHES_PER_SECOND_MAX,
    transport: parsed.LONGLINE_TRANSPORT,
    front: frontConfig(parsed, openFilesMax),
  };
}

function frontConfig(
  parsed: z.infer<z.ZodObject<typeof settings>>,
  openFilesMax: number,
): RouterFrontConfig | undefined {
  const port = parsed.LONGLINE_ROUTER_FRONT_PORT;
  if (port === undefined) return undefined;
  const devicesLimit = Math.floor((openFilesMax - DESCRIPTORS_RESERVED) / 2);
  const devicesMax = parsed.LONGLINE_ROUTER_FRONT_DEVICES_MAX ?? devicesLimit;
  if (devicesMax > devicesLimit || devicesLimit < 1) {
    throw new ConfigError('router', [
      `LONGLINE_ROUTER_FRONT_DEVICES_MAX: ${devicesMax} devices need an open-file limit of ` +
        `${2 * Math.max(1, devicesMax) + DESCRIPTORS_RESERVED}; it is ${openFilesMax} (ulimit -n)`,
    ]);
  }
  return {
    port,
    devicesMax,
    sourceAddresses: parsed.LONGLINE_ROUTER_FRONT_SOURCE_ADDRESSES,
    waitingMax: parsed.LONGLINE_ROUTER_FRONT_PENDING_MAX,
    headBytesMax: parsed.LONGLINE_ROUTER_FRONT_HEAD_BYTES_MAX,
    headTimeoutMs: parsed.LONGLINE_ROUTER_FRONT_HEAD_TIMEOUT_MS,
    connectTimeoutMs: parsed.LONGLINE_ROUTER_FRONT_CONNECT_TIMEOUT_MS,
    drainMs: parsed.LONGLINE_ROUTER_FRONT_DRAIN_MS,
    shardCount: parsed.LONGLINE_SHARD_COUNT,
    corsOrigins: parsed.LONGLINE_CORS_ORIGINS,
    proxyNetworks: parsed.LONGLINE_PROXY_NETWORKS,
  };
}

/** @param text `accepted`, `fsynced` or `replicated:<n>` */
function parseSafety(text: string): Safety | undefined {
  const [level, count] = text.split(':');
  if (level === 'fsynced') return { level: AcceptLevel.ACCEPT_LEVEL_FSYNCED, replicas: 0 };
  if (level !== 'replicated') return undefined;
  return { level: AcceptLevel.ACCEPT_LEVEL_REPLICATED, replicas: Number(count) };
}

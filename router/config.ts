import { randomBytes } from 'node:crypto';
import { z } from 'zod';
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
} from '../common/config.js';
import type { InboxBounds } from '../common/inbox.js';
import { AcceptLevel } from '../proto/gen/longline/v1/push.js';
import type { Safety } from './safe-writer.js';

const DAY_MS = 24 * 60 * 60 * 1000;

const settings = {
  ...sharedSettings,
  ...servingSettings,
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
  /** Questions to edges in flight, of all callers together; more are refused as OVERLOADED. */
  readonly inFlightMax: number;
  /** How long a push is kept that does not say. 0: live only. */
  readonly ttlDefaultMs: number;
  /** A longer TTL is refused. Every stored push costs Redis its payload and about 100 bytes. */
  readonly ttlMaxMs: number;
  /** Bounds of one client's inbox; over either, its oldest pushes go. */
  readonly inbox: InboxBounds;
  /**
   * What a durable push must be safe against before it is answered, unless it says so itself;
   * undefined: it is answered when Redis has it.
   */
  readonly safety: Safety | undefined;
  /** Larger payloads are refused. An edge's send buffer takes one of any size when it is empty. */
  readonly payloadBytesMax: number;
  /** `host:port` of the gRPC of each control. */
  readonly controlAddresses: readonly string[];
  readonly corsOrigins: readonly string[] | undefined;
}

/** @throws ConfigError with every problem */
export function parseRouterConfig(env: Env): RouterConfig {
  const parsed = parseSettings('router', settings, env);
  if (parsed.LONGLINE_ROUTER_TTL_DEFAULT_MS > parsed.LONGLINE_ROUTER_TTL_MAX_MS) {
    throw new ConfigError('router', [
      'LONGLINE_ROUTER_TTL_DEFAULT_MS: it is over LONGLINE_ROUTER_TTL_MAX_MS',
    ]);
  }
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
  };
}

/** @param text `accepted`, `fsynced` or `replicated:<n>` */
function parseSafety(text: string): Safety | undefined {
  const [level, count] = text.split(':');
  if (level === 'fsynced') return { level: AcceptLevel.ACCEPT_LEVEL_FSYNCED, replicas: 0 };
  if (level !== 'replicated') return undefined;
  return { level: AcceptLevel.ACCEPT_LEVEL_REPLICATED, replicas: Number(count) };
}

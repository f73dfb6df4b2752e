import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { deviceAuth, deviceAuthSettings, type JwtConfig } from '../common/auth/device-settings.js';
import {
  grpcTlsSettings,
  type LinkConfig,
  linkConfig,
  linkTlsSettings,
} from '../common/auth/peer-settings.js';
import { boundsFor, type EventConfig } from '../common/cluster/events/event-stream.js';
import { eventConfig, eventSettings } from '../common/cluster/events/settings.js';
import { ipBytes } from '../common/net/ip-address.js';
import type { AllowedOrigins } from '../common/net/origin.js';
import {
  allowedOrigins,
  ConfigError,
  type Env,
  integer,
  parseSettings,
  port,
  processName,
  type SharedConfig,
  servingSettings,
  share,
  sharedConfig,
  sharedProblems,
  sharedSettings,
} from '../common/process/config.js';
import type { ConnectionsConfig } from '../common/process/grpc/connections.js';
import {
  type TracingConfig,
  tracingConfig,
  tracingSettings,
} from '../common/process/tracing/settings.js';
import type { TransportName } from '../common/transport/open-transport.js';
import type { TlsFiles } from '../common/transport/tls-identity.js';
import { tlsFilesOf, tlsSettings } from '../common/transport/tls-settings.js';
import { AcceptLevel } from '../proto/gen/longline/v1/push.js';
import { type WebhookConfig, webhookConfig, webhookSettings } from './events/webhooks/settings.js';
import type { FrontListenerConfig } from './front/listener.js';
import { type BackendConfig, backendConfig, backendSettings } from './push/backend-settings.js';
import { connectionSettings, connectionsConfig } from './push/connection-settings.js';
import type { PushHttpConfig } from './push/http/push-http.js';
import type { PusherConfig } from './push/pusher.js';
import type { RequiredLevel } from './push/store/accept-level-writer.js';

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * Descriptors that a router with a front needs besides those of its devices, backends and HTTP
 * connections: Redis, control, standard streams, and devices that are being rejected.
 */
const DESCRIPTORS_RESERVED = 512;
/** HTTP connections of each port, and their share of the open-file limit if that is less. */
const HTTP_CONNECTIONS_MAX = 1_024;
const HTTP_OPEN_FILES_SHARE = 1 / 8;

export const routerSettings = {
  ...sharedSettings,
  ...tracingSettings,
  ...servingSettings,
  ...eventSettings,
  ...deviceAuthSettings,
  ...linkTlsSettings,
  ...grpcTlsSettings,
  ...backendSettings,
  ...connectionSettings,
  ...webhookSettings,
  LONGLINE_ROUTER_ID: processName
    .optional()
    .describe(
      'Unique name of the router in logs and on its reply channels: 1 to 128 of A-Z a-z 0-9 . _ -. ' +
        'Unset: `router-` and a random number.',
    ),
  LONGLINE_ROUTER_HTTP_PORT: port(7100).describe(
    'Port for `/connect`, health checks and metrics. 0: any free port.',
  ),
  LONGLINE_ROUTER_GRPC_PORT: port(7101).describe(
    'Port of the Push API (gRPC) for backends. 0: any free port.',
  ),
  LONGLINE_ROUTER_WAIT_MS: integer(10, 60_000)
    .default(2_000)
    .describe(
      'Milliseconds that a push waits for its verdict unless the caller sets `wait_ms`. Below about ' +
        '1000, pushes during a failover of Redis end as UNKNOWN that would still have got an answer; ' +
        'too high, callers wait longer for edges that do not answer.',
    ),
  LONGLINE_ROUTER_IN_FLIGHT_MAX: integer(1, 10_000_000)
    .default(100_000)
    .describe(
      'Shard queries that await answers of edges, of all callers together; more are rejected with ' +
        'OVERLOADED. Too low rejects bursts; too high costs memory while edges do not answer.',
    ),
  LONGLINE_ROUTER_TTL_DEFAULT_MS: integer(0, 30 * DAY_MS)
    .default(60_000)
    .describe(
      'TTL in milliseconds of a push without `ttl_ms`. 0: live only. Too low, pushes expire before ' +
        'a device has reconnected. Must not be over `LONGLINE_ROUTER_TTL_MAX_MS`.',
    ),
  LONGLINE_ROUTER_TTL_MAX_MS: integer(0, 30 * DAY_MS)
    .default(7 * DAY_MS)
    .describe(
      'Maximum `ttl_ms` of a push; longer ones are rejected with TTL_TOO_LONG. Every stored push ' +
        'costs Redis its payload and about 100 bytes, so a high value needs more memory there.',
    ),
  LONGLINE_ROUTER_INBOX_COUNT_MAX: integer(1, 1_000_000)
    .default(1_000)
    .describe(
      'Maximum number of pushes in the inbox of one client; the oldest are removed beyond it. Too ' +
        'low, devices that were away have gaps; too high, each inbox may cost Redis more memory.',
    ),
  LONGLINE_ROUTER_INBOX_BYTES_MAX: integer(1, 1024 * 1024 * 1024)
    .default(4 * 1024 * 1024)
    .describe(
      'Maximum payload bytes in the inbox of one client; the oldest pushes are removed beyond it. A ' +
        'push that is larger has the inbox to itself. Too low, devices that were away have gaps.',
    ),
  LONGLINE_ROUTER_USER_DEVICES_MAX: integer(1, 1_000)
    .default(100)
    .describe(
      'Maximum number of devices that a push to a user reaches; for a user with more it is rejected ' +
        'with USER_DEVICES_TOO_MANY. Too low rejects pushes to users with many devices; too high, one ' +
        'call may cost as much as a thousand pushes.',
    ),
  LONGLINE_ROUTER_ACCEPT_LEVEL: z
    .string()
    .regex(
      /^(accepted|fsynced|replicated:[1-9]\d?)$/,
      'expected accepted, fsynced or replicated:<n>',
    )
    .default('accepted')
    .describe(
      'Condition for the answer to a durable push without `accept_level`: `accepted` (Redis has ' +
        "it), `fsynced` (it is on the master's disk) or `replicated:<n>` (n replicas have it, 1 to " +
        '99). A higher level survives more failures and takes longer.',
    ),
  LONGLINE_ROUTER_PAYLOAD_BYTES_MAX: integer(1, 16 * 1024 * 1024)
    .default(1024 * 1024)
    .describe(
      'Maximum bytes of a payload; larger ones are rejected with PAYLOAD_TOO_LARGE. The send buffer ' +
        'of an edge accepts one push of any size when it is empty.',
    ),
  LONGLINE_ROUTER_FRONT_PORT: integer(0, 65_535)
    .optional()
    .describe(
      'Port of the front proxy, for devices that can be configured with one address only. 0: any ' +
        'free port. Unset: no front.',
    ),
  ...tlsSettings('LONGLINE_ROUTER_FRONT_TLS_', 'the front proxy'),
  LONGLINE_ROUTER_FRONT_DEVICES_MAX: integer(1, 5_000_000)
    .optional()
    .describe(
      'Maximum number of devices on the front; more are rejected with FRONT_FULL. Each uses two ' +
        'descriptors. Unset: half of what 1536 and LONGLINE_ROUTER_GRPC_CONNECTIONS_MAX leave of the ' +
        'open-file limit, and 1024 more with LONGLINE_ROUTER_PUSH_HTTP_PORT; a higher value is an ' +
        'error at startup (raise `ulimit -n`).',
    ),
  LONGLINE_ROUTER_FRONT_SOURCE_ADDRESSES: z
    .string()
    .transform((text) => text.split(',').map((address) => address.trim()))
    .pipe(
      z.array(z.string().refine((text) => ipBytes(text) !== undefined, 'expected IP addresses')),
    )
    .default([])
    .describe(
      'Local IP addresses from which the front connects to edges, in rotation, separated by commas. ' +
        'Each has about 28,000 ports (`net.ipv4.ip_local_port_range`) for the devices of one edge. ' +
        'Unset: the system chooses.',
    ),
  LONGLINE_ROUTER_FRONT_PENDING_MAX: integer(1, 5_000_000)
    .default(10_000)
    .describe(
      'Devices that may be pending until the front has connected to one edge; more are rejected with ' +
        'OVERLOADED. Too low rejects devices while an edge restarts; too high costs memory.',
    ),
  LONGLINE_ROUTER_FRONT_HEAD_BYTES_MAX: integer(256, 65_536)
    .default(8_192)
    .describe(
      'Maximum bytes of a request head, and of an MQTT CONNECT, at the front. Set it like ' +
        '`LONGLINE_EDGE_HEAD_BYTES_MAX`, as the lower of the two applies. Too low rejects long ' +
        'cookies; each incomplete head may use this much memory.',
    ),
  LONGLINE_ROUTER_FRONT_HEAD_TIMEOUT_MS: integer(100, 60_000)
    .default(10_000)
    .describe(
      'Milliseconds from the connect of a device to its complete request head, else it is rejected ' +
        'with HEAD_TIMEOUT. Too low rejects slow networks; too high lets silent connections use ' +
        'capacity.',
    ),
  LONGLINE_ROUTER_FRONT_CONNECT_TIMEOUT_MS: integer(100, 60_000)
    .default(5_000)
    .describe(
      'Milliseconds that the front tries to connect a device to its owner edge, else it is rejected ' +
        'with EDGE_UNREACHABLE. Should be longer than an edge takes to restart in place; too high, ' +
        'devices wait long for an edge that is gone.',
    ),
  LONGLINE_ROUTER_FRONT_DRAIN_MS: integer(0, 3_600_000)
    .default(10_000)
    .describe(
      'Milliseconds over which SIGTERM disconnects the devices of the front, evenly. 0: all at once. ' +
        'Too low causes a reconnect storm; keep it some seconds below the time after which the ' +
        'router is killed.',
    ),
  LONGLINE_ROUTER_CLIENT_PUSHES_PER_SECOND_MAX: integer(1, 10_000_000)
    .default(5_000)
    .describe(
      'Maximum pushes per second to one client through this router; more are rejected with ' +
        'RATE_LIMITED. After an idle second, a burst of one more second of pushes passes. Too low ' +
        'rejects bursts; too high lets a faulty backend flood a device and its inbox.',
    ),
  LONGLINE_ROUTER_FLIGHT_RECORD_SHARE: share
    .default(0)
    .describe(
      'Share of the pushes to one client whose response has a flight record although the request ' +
        'did not ask for it, from 0 to 1. Slow pushes are then shown with it. Each record costs the ' +
        'router and the edge some microseconds.',
    ),
  LONGLINE_ROUTER_BACKEND_PUSHES_PER_SECOND_MAX: integer(1, 10_000_000)
    .optional()
    .describe(
      'Maximum pushes per second of one backend through this router; more are rejected with ' +
        'RATE_LIMITED. PushMany counts once per client, Broadcast once. Unset: no bound.',
    ),
};

export interface RouterConfig extends SharedConfig, PusherConfig {
  readonly routerId: string;
  /** Share of the pushes that get a flight record without asking for it. */
  readonly flightRecordShare: number;
  /** Undefined: there is no tracing. */
  readonly tracing: TracingConfig | undefined;
  readonly httpPort: number;
  readonly httpConnectionsMax: number;
  readonly grpcPort: number;
  /** Undefined: no Push API over HTTP. */
  readonly pushHttp: PushHttpConfig | undefined;
  readonly inFlightMax: number;
  /** Maximum number of devices of one user that a push reaches. */
  readonly userDevicesMax: number;
  /** `host:port` of the gRPC of each control. */
  readonly controlAddresses: readonly string[];
  readonly corsOrigins: AllowedOrigins;
  /** Transport of the front; undefined: native where it was built, else net. */
  readonly transport: TransportName | undefined;
  /** Undefined: the router has no front. */
  readonly front: FrontListenerConfig | undefined;
  /** Undefined: devices are not authenticated. */
  readonly jwt: JwtConfig | undefined;
  /** Credentials for control. */
  readonly link: LinkConfig;
  readonly backends: BackendConfig;
  /** gRPC connections of backends. */
  readonly connections: ConnectionsConfig;
  /** Per backend; undefined: no bound. */
  readonly pushesPerSecondMax: number | undefined;
  readonly events: EventConfig;
  readonly webhooks: WebhookConfig;
}

/**
 * @param openFilesMax the process's limit on open files
 * @throws ConfigError with every problem
 */
export function parseRouterConfig(env: Env, openFilesMax: number): RouterConfig {
  const parsed = parseSettings('router', routerSettings, env);
  const problems = sharedProblems(parsed);
  if (parsed.LONGLINE_ROUTER_TTL_DEFAULT_MS > parsed.LONGLINE_ROUTER_TTL_MAX_MS) {
    problems.push('LONGLINE_ROUTER_TTL_DEFAULT_MS: must not be over LONGLINE_ROUTER_TTL_MAX_MS');
  }
  const jwt = deviceAuth(parsed, problems);
  const link = linkConfig(parsed, problems);
  const backends = backendConfig(parsed, problems);
  const connections = connectionsConfig(parsed, openFilesMax, problems);
  const httpShare = Math.max(1, Math.floor(openFilesMax * HTTP_OPEN_FILES_SHARE));
  const httpConnectionsMax = Math.min(HTTP_CONNECTIONS_MAX, httpShare);
  const pushHttpPort = parsed.LONGLINE_ROUTER_PUSH_HTTP_PORT;
  const pushHttp =
    pushHttpPort === undefined
      ? undefined
      : {
          port: pushHttpPort,
          connectionsMax: httpConnectionsMax,
          connectionAgeMsMax: connections.ageMsMax,
        };
  const frontTls = frontTlsOf(parsed, jwt !== undefined, problems);
  const events = eventConfig(parsed);
  const webhooks = webhookConfig(parsed, events.subjects.length > 0, problems);
  const tracing = tracingConfig(parsed, env, problems);
  if (problems.length > 0) throw new ConfigError('router', problems);
  const otherConnectionsMax =
    connections.connectionsMax + httpConnectionsMax * (pushHttp === undefined ? 1 : 2);
  return {
    ...sharedConfig(parsed),
    tracing,
    routerId: parsed.LONGLINE_ROUTER_ID ?? `router-${randomBytes(4).toString('hex')}`,
    httpPort: parsed.LONGLINE_ROUTER_HTTP_PORT,
    httpConnectionsMax,
    grpcPort: parsed.LONGLINE_ROUTER_GRPC_PORT,
    pushHttp,
    waitMs: parsed.LONGLINE_ROUTER_WAIT_MS,
    inFlightMax: parsed.LONGLINE_ROUTER_IN_FLIGHT_MAX,
    ttlDefaultMs: parsed.LONGLINE_ROUTER_TTL_DEFAULT_MS,
    ttlMaxMs: parsed.LONGLINE_ROUTER_TTL_MAX_MS,
    userDevicesMax: parsed.LONGLINE_ROUTER_USER_DEVICES_MAX,
    inbox: {
      countMax: parsed.LONGLINE_ROUTER_INBOX_COUNT_MAX,
      bytesMax: parsed.LONGLINE_ROUTER_INBOX_BYTES_MAX,
      events: boundsFor(events, 'pushes'),
    },
    acceptLevel: parseAcceptLevel(parsed.LONGLINE_ROUTER_ACCEPT_LEVEL),
    payloadBytesMax: parsed.LONGLINE_ROUTER_PAYLOAD_BYTES_MAX,
    controlAddresses: parsed.LONGLINE_CONTROL_ADDRESS,
    corsOrigins: allowedOrigins(parsed),
    jwt,
    link,
    backends,
    connections,
    clientPushesPerSecondMax: parsed.LONGLINE_ROUTER_CLIENT_PUSHES_PER_SECOND_MAX,
    flightRecordShare: parsed.LONGLINE_ROUTER_FLIGHT_RECORD_SHARE,
    pushesPerSecondMax: parsed.LONGLINE_ROUTER_BACKEND_PUSHES_PER_SECOND_MAX,
    events,
    webhooks,
    transport: parsed.LONGLINE_TRANSPORT,
    front: frontConfig(parsed, frontTls, openFilesMax, otherConnectionsMax),
  };
}

function frontTlsOf(
  parsed: z.infer<z.ZodObject<typeof routerSettings>>,
  hasTokens: boolean,
  problems: string[],
): TlsFiles | undefined {
  const prefix = 'LONGLINE_ROUTER_FRONT_TLS_';
  const values = {
    certs: parsed.LONGLINE_ROUTER_FRONT_TLS_CERT_FILE,
    keys: parsed.LONGLINE_ROUTER_FRONT_TLS_KEY_FILE,
    minVersion: parsed.LONGLINE_ROUTER_FRONT_TLS_MIN_VERSION,
    ticketKeys: parsed.LONGLINE_ROUTER_FRONT_TLS_TICKET_KEY_FILE,
    clientCa: parsed.LONGLINE_ROUTER_FRONT_TLS_CLIENT_CA_FILE,
    clientCertificates: parsed.LONGLINE_ROUTER_FRONT_TLS_CLIENT_CERTIFICATES,
  };
  if (values.certs.length > 0 && parsed.LONGLINE_ROUTER_FRONT_PORT === undefined) {
    problems.push(`${prefix}CERT_FILE: LONGLINE_ROUTER_FRONT_PORT is not set`);
  }
  if (values.clientCa !== undefined && !hasTokens) {
    problems.push(
      `${prefix}CLIENT_CA_FILE: needs LONGLINE_AUTH=jwt, because the front proves to the edge with ` +
        'a resume ticket that it has seen the certificate',
    );
  }
  const startsPlain = parsed.LONGLINE_PROXY_NETWORKS.length > 0;
  return tlsFilesOf(values, { prefix, hasTokens, startsPlain }, problems);
}

function frontConfig(
  parsed: z.infer<z.ZodObject<typeof routerSettings>>,
  tls: TlsFiles | undefined,
  openFilesMax: number,
  otherConnectionsMax: number,
): FrontListenerConfig | undefined {
  const port = parsed.LONGLINE_ROUTER_FRONT_PORT;
  if (port === undefined) return undefined;
  const reserved = DESCRIPTORS_RESERVED + otherConnectionsMax;
  const devicesLimit = Math.floor((openFilesMax - reserved) / 2);
  const devicesMax = parsed.LONGLINE_ROUTER_FRONT_DEVICES_MAX ?? devicesLimit;
  if (devicesMax > devicesLimit || devicesLimit < 1) {
    throw new ConfigError('router', [
      `LONGLINE_ROUTER_FRONT_DEVICES_MAX: ${devicesMax} devices need an open-file limit of ` +
        `${2 * Math.max(1, devicesMax) + reserved}; it is ${openFilesMax} (ulimit -n)`,
    ]);
  }
  return {
    port,
    devicesMax,
    sourceAddresses: parsed.LONGLINE_ROUTER_FRONT_SOURCE_ADDRESSES,
    pendingMax: parsed.LONGLINE_ROUTER_FRONT_PENDING_MAX,
    headBytesMax: parsed.LONGLINE_ROUTER_FRONT_HEAD_BYTES_MAX,
    headTimeoutMs: parsed.LONGLINE_ROUTER_FRONT_HEAD_TIMEOUT_MS,
    connectTimeoutMs: parsed.LONGLINE_ROUTER_FRONT_CONNECT_TIMEOUT_MS,
    drainMs: parsed.LONGLINE_ROUTER_FRONT_DRAIN_MS,
    shardCount: parsed.LONGLINE_SHARD_COUNT,
    corsOrigins: allowedOrigins(parsed),
    mqttPaths: parsed.LONGLINE_MQTT_PATHS,
    proxyNetworks: parsed.LONGLINE_PROXY_NETWORKS,
    tls,
  };
}

/** @param text `accepted`, `fsynced` or `replicated:<n>` */
function parseAcceptLevel(text: string): RequiredLevel | undefined {
  const [level, count] = text.split(':');
  if (level === 'fsynced') return { level: AcceptLevel.ACCEPT_LEVEL_FSYNCED, replicas: 0 };
  if (level !== 'replicated') return undefined;
  return { level: AcceptLevel.ACCEPT_LEVEL_REPLICATED, replicas: Number(count) };
}

import { hostname } from 'node:os';
import { z } from 'zod';
import { deviceAuth, deviceAuthSettings, type JwtConfig } from '../common/auth/device-settings.js';
import { type LinkConfig, linkConfig, linkTlsSettings } from '../common/auth/peer-settings.js';
import type { EventConfig } from '../common/cluster/events/event-stream.js';
import { eventConfig, eventSettings } from '../common/cluster/events/settings.js';
import { labelNameProblem } from '../common/labels/labels.js';
import { canonicalOriginUrl, joinHostPort, originUrlProblem } from '../common/net/host-port.js';
import type { AllowedOrigins } from '../common/net/origin.js';
import {
  allowedOrigins,
  ConfigError,
  type Env,
  hostPort,
  integer,
  listOf,
  parseSettings,
  port,
  processName,
  type SharedConfig,
  servingSettings,
  sharedConfig,
  sharedProblems,
  sharedSettings,
  textWithout,
} from '../common/process/config.js';
import {
  type TracingConfig,
  tracingConfig,
  tracingSettings,
} from '../common/process/tracing/settings.js';
import type { TransportName } from '../common/transport/open-transport.js';
import type { TlsFiles } from '../common/transport/tls-identity.js';
import { tlsFilesOf, tlsSettings } from '../common/transport/tls-settings.js';
import type { HandshakeOptions } from './accept/handshakes.js';
import { LABEL_SETS_MAX } from './session/connection-labels.js';

/** Descriptors for everything but devices: Redis, gRPC, HTTP, standard streams, rejections. */
const DESCRIPTORS_RESERVED = 512;
const DAY_S = 24 * 60 * 60;

const identitySettings = {
  LONGLINE_EDGE_ID: processName.describe(
    'Name of this edge: 1 to 128 of A-Z a-z 0-9 . _ -. It must be unique in the cluster and stable ' +
      'across restarts, because shards are placed by it; an edge with a new name starts without ' +
      'shards.',
  ),
  LONGLINE_EDGE_PORT: port(7000).describe('Port for device connections. 0: any free port.'),
  LONGLINE_EDGE_ADMIN_PORT: port(7001).describe(
    'Port for health checks and metrics. 0: any free port.',
  ),
  LONGLINE_EDGE_ADVERTISED_URL: z
    .string()
    .transform((text) => text.split(',').map((url) => url.trim()))
    .pipe(z.array(textWithout(originUrlProblem).transform(canonicalOriginUrl)))
    .optional()
    .describe(
      'URL of this edge as devices reach it: scheme, host and port, without a path. The edge cannot ' +
        'check it; devices that are redirected to a wrong URL cannot connect. Of several URLs, ' +
        'separated by commas, the edge whose id ends with `-0` uses the first, `-1` the second, so ' +
        'that all edges can share one environment. Unset: `http(s)://<hostname>:<port>`.',
    ),
  LONGLINE_EDGE_FRONT_ADDRESS: hostPort()
    .optional()
    .describe(
      "`host:port` of this edge's device port as front proxies reach it. Set it if the advertised " +
        'URL is a public address or ends TLS. The networks of the routers must be in ' +
        'LONGLINE_PROXY_NETWORKS of the edge. Unset: host and port of the advertised URL.',
    ),
  ...tlsSettings('LONGLINE_EDGE_TLS_', 'the device port'),
  LONGLINE_EDGE_ZONE: processName
    .or(z.literal(''))
    .default('')
    .describe(
      'Failure domain of this edge, such as an availability zone: 1 to 128 of A-Z a-z 0-9 . _ -. ' +
        'Control considers it when it places shards. Unset: none.',
    ),
};

const connectionSettings = {
  LONGLINE_EDGE_CONNECTIONS_MAX: integer(1, 10_000_000)
    .optional()
    .describe(
      'Maximum number of client connections; more are rejected with EDGE_FULL. Up to 128 further ' +
        'sockets are open at a time to send that rejection; beyond them, connections are closed ' +
        'unread. It is also the capacity of the edge: shards are distributed in proportion to it. ' +
        'Unset: the open-file limit less 512 descriptors for everything else. A larger value is an ' +
        'error at the start: raise `ulimit -n`.',
    ),
  LONGLINE_EDGE_CONNECTIONS_PER_PREFIX_MAX: integer(1, 10_000_000)
    .optional()
    .describe(
      'Maximum number of connections from one source prefix: an IPv4 address, or the first 64 bits ' +
        'of an IPv6 address. More are rejected with PREFIX_FULL. Set it where the edge sees the ' +
        'addresses of devices, directly or in PROXY headers, to what the largest office behind one ' +
        'address needs, such as 1000. Unset: no limit, because behind a load balancer without ' +
        'PROXY headers all devices have the same address.',
    ),
  LONGLINE_EDGE_GUEST_SHARDS_MAX: integer(0, 65_536)
    .default(1_024)
    .describe(
      'Maximum number of shards of other edges that this edge subscribes to for guests: WebSocket ' +
        'and MQTT clients that connect without a front proxy. A client of one more shard is ' +
        'rejected with GUESTS_FULL; connected guests stay. 0: no guests. Too high undoes the ' +
        'sharding, because every edge then receives every push.',
    ),
  LONGLINE_EDGE_HEAD_BYTES_MAX: integer(256, 65_536)
    .default(8_192)
    .describe(
      'Maximum size in bytes of a request head, and of a packet from an MQTT device. Too low rejects ' +
        'requests with long cookies; each incomplete head may take this much memory.',
    ),
  LONGLINE_EDGE_HEAD_TIMEOUT_MS: integer(100, 60_000)
    .default(10_000)
    .describe(
      'Milliseconds from the connect to the end of the request head, and again until the ' +
        'subscription of the shard is confirmed. Checked once a second. Too low rejects devices on ' +
        'slow networks; too high lets idle connections occupy descriptors.',
    ),
  LONGLINE_EDGE_HEARTBEAT_MS: integer(1_000, 300_000)
    .default(15_000)
    .describe(
      'Interval in milliseconds of heartbeats to every connection, rounded up to whole seconds: a ' +
        'comment, or a ping over a WebSocket. A WebSocket that sends nothing for three intervals, ' +
        'not even a pong, is closed as silent. Keep it below the shortest idle timeout on the way ' +
        '(30 s is common); each doubling halves the cost of idle connections.',
    ),
  LONGLINE_EDGE_LABEL_SETS_MAX: integer(1, LABEL_SETS_MAX)
    .default(10_000)
    .describe(
      'Maximum number of different sets of labels. The labels of a connection with one more are ' +
        'unknown to the edge: it gets no broadcast with a selector, the answer of the broadcast ' +
        'counts it in labels_unknown, and it gets no resume ticket. Too high lets labels with many ' +
        'values take memory, some 500 bytes and more for each set.',
    ),
  LONGLINE_EDGE_QUERY_LABELS: listOf(textWithout(labelNameProblem))
    .default([])
    .describe(
      'Names of the labels that a device may set in its query (`labels=app=ios,version=5.2`), ' +
        'separated by commas. Another name is rejected with LABELS_INVALID. A label of the token ' +
        'goes before one of the query. Unset: none, because a query proves nothing.',
    ),
  LONGLINE_EDGE_MQTT_ACK_TIMEOUT_MS: integer(1_000, 3_600_000)
    .default(10_000)
    .describe(
      'Milliseconds after which a push that an MQTT device has not acknowledged takes no place among ' +
        'the 32 in flight any more, so that later pushes are delivered. It is sent again on the next ' +
        'connection. Up to 96 pushes per connection wait like this. Too low sends more than 32 ' +
        'pushes to a device that is only slow; too high delays what follows a push that the device ' +
        'does not acknowledge.',
    ),
  LONGLINE_EDGE_MQTT_KEEP_ALIVE_MAX_MS: integer(10_000, 65_535_000)
    .default(1_200_000)
    .describe(
      'Maximum MQTT keep alive in milliseconds. An MQTT 5 device that requests more receives this ' +
        'value as Server Keep Alive; it also applies to devices that request none. A device that is ' +
        'silent for one and a half times its keep alive is disconnected. Too low drains batteries; ' +
        'too high keeps dead connections.',
    ),
  LONGLINE_EDGE_MQTT_PUBLISHES: z
    .enum(['reject', 'ignore'])
    .default('ignore')
    .describe(
      'Treatment of a PUBLISH from an MQTT device. Devices cannot publish: `ignore` drops the message ' +
        'and counts it in longline_edge_mqtt_ignored_total, `reject` disconnects the device. MQTT 5 ' +
        'devices receive the reason 0x87 in the acknowledgement, and with QoS 1 stay connected in ' +
        'both cases; MQTT 3.1.1 devices receive an acknowledgement as if it was accepted.',
    ),
  LONGLINE_EDGE_MQTT_WILLS: z
    .enum(['reject', 'ignore'])
    .default('reject')
    .describe(
      'Treatment of an MQTT CONNECT with a will. Wills are never published: `reject` rejects the ' +
        'client, `ignore` accepts it without its will.',
    ),
  LONGLINE_EDGE_SEND_BUFFER_BYTES_MAX: integer(1_024, 64 * 1024 * 1024)
    .default(256 * 1024)
    .describe(
      'Maximum number of bytes that wait in user space for one client, beyond what the kernel has ' +
        'accepted. A client that exceeds it is closed as slow. A single push of any size is accepted ' +
        'while nothing waits. Too low closes clients on slow networks; too high lets them take ' +
        'memory.',
    ),
  LONGLINE_EDGE_INBOUND_BYTES_PER_SECOND_MAX: integer(256, 64 * 1024 * 1024)
    .default(65_536)
    .describe(
      'Maximum number of bytes per second from one device after its connect request. Over it the ' +
        'connection is closed as flooding. Too low closes devices that confirm many pushes.',
    ),
  LONGLINE_EDGE_INBOUND_FRAMES_PER_SECOND_MAX: integer(1, 1_000_000)
    .default(1_000)
    .describe(
      'Maximum number of frames per second from one WebSocket. Over it the connection is closed as ' +
        'flooding. Too low closes devices that confirm the pushes of a backlog one by one.',
    ),
};

const admissionSettings = {
  LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX: integer(0, 1_000_000)
    .default(5_000)
    .describe(
      'Maximum number of devices admitted per second; 0: not paced. The rate starts at 2000, grows ' +
        'while devices wait, and falls to as few as 300 when the event loop is late or inboxes are ' +
        'not read in time; after a quiet time, up to 400 more are admitted. Devices that were connected before are admitted first; with ' +
        'authentication, those are devices with a resume ticket or a token that this edge has ' +
        'verified.',
    ),
  LONGLINE_EDGE_HANDSHAKES_PENDING_MAX: integer(2, 10_000_000)
    .optional()
    .describe(
      'Maximum number of devices that wait for admission. New devices are rejected with OVERLOADED ' +
        'at half of it, returning ones at all of it. Unset: as LONGLINE_EDGE_CONNECTIONS_MAX.',
    ),
  LONGLINE_EDGE_HANDSHAKE_TIMEOUT_MS: integer(100, 600_000)
    .default(30_000)
    .describe(
      'Maximum wait for admission in milliseconds, after which a device is rejected with OVERLOADED. ' +
        'Too low turns one reconnect storm into a series of them; a waiting device costs little, ' +
        'and an EventSource that is rejected never retries by itself.',
    ),
};

const userSettings = {
  LONGLINE_EDGE_USER_DEVICE_DAYS: integer(2, 3_650)
    .default(30)
    .describe(
      'Days for which a device (`user/device`) gets pushes to its user after it was connected. Too ' +
        'low, a user loses pushes on a device that was away; too high, pushes are stored for devices ' +
        'that never return. The same for all edges.',
    ),
};

const drainSettings = {
  LONGLINE_EDGE_DRAIN_MS: integer(0, 86_400_000)
    .default(60_000)
    .describe(
      'Milliseconds from SIGTERM to the exit, in which the edge moves its clients to other edges. ' +
        'The remaining clients are closed over the last 5 s. 0: the edge stops at once. Keep it some ' +
        'seconds below the time after which the process is killed ' +
        '(`terminationGracePeriodSeconds`, `TimeoutStopSec`).',
    ),
  LONGLINE_EDGE_EXIT_WHEN_DRAINED: z
    .enum(['true', 'false'])
    .transform((text) => text === 'true')
    .pipe(z.boolean())
    .default(false)
    .describe(
      "`true`: the process also exits when an operator's drain has emptied the edge. Leave it " +
        '`false` where a supervisor would restart the process at once. `false`: it exits on SIGTERM ' +
        'only.',
    ),
};

export const edgeSettings = {
  ...sharedSettings,
  ...tracingSettings,
  ...servingSettings,
  ...eventSettings,
  ...deviceAuthSettings,
  ...linkTlsSettings,
  ...identitySettings,
  ...connectionSettings,
  ...admissionSettings,
  ...userSettings,
  ...drainSettings,
};

/** Parsed settings; the schemas above describe them. */
export interface EdgeConfig extends SharedConfig {
  readonly edgeId: string;
  /** Undefined: there is no tracing. */
  readonly tracing: TracingConfig | undefined;
  readonly port: number;
  readonly adminPort: number;
  readonly advertisedUrl: string | undefined;
  readonly frontAddress: string | undefined;
  readonly connectionsMax: number;
  readonly headBytesMax: number;
  readonly headTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly labelSetsMax: number;
  readonly queryLabels: readonly string[];
  readonly mqttAckTimeoutMs: number;
  readonly mqttKeepAliveMaxMs: number;
  readonly mqttPublishes: 'reject' | 'ignore';
  readonly mqttWills: 'reject' | 'ignore';
  readonly sendBufferBytesMax: number;
  readonly inboundBytesPerSecondMax: number;
  readonly inboundFramesPerSecondMax: number;
  readonly guestShardsMax: number;
  readonly connectionsPerPrefixMax: number | undefined;
  readonly handshakes: HandshakeOptions;
  /** '': none. */
  readonly zone: string;
  readonly drainMs: number;
  /** Seconds for which a device counts as one of its user after it was connected. */
  readonly keepDevicesS: number;
  readonly exitWhenDrained: boolean;
  readonly events: EventConfig;
  readonly transport: TransportName | undefined;
  readonly controlAddresses: readonly string[];
  readonly corsOrigins: AllowedOrigins;
  readonly mqttPaths: readonly string[];
  readonly proxyNetworks: readonly string[];
  /** Undefined: devices are not authenticated. */
  readonly jwt: JwtConfig | undefined;
  /** Undefined: devices connect without TLS. */
  readonly tls: TlsFiles | undefined;
  readonly link: LinkConfig;
}

/**
 * @param openFilesMax open-file limit of the process
 * @throws ConfigError with every problem
 */
export function parseEdgeConfig(env: Env, openFilesMax: number): EdgeConfig {
  const parsed = parseSettings('edge', edgeSettings, env);
  const problems = sharedProblems(parsed);
  const connectionsLimit = openFilesMax - DESCRIPTORS_RESERVED;
  const connectionsMax = parsed.LONGLINE_EDGE_CONNECTIONS_MAX ?? connectionsLimit;
  if (connectionsMax > connectionsLimit || connectionsLimit < 1) {
    problems.push(
      `LONGLINE_EDGE_CONNECTIONS_MAX: ${connectionsMax} connections need an open-file limit of ` +
        `${Math.max(1, connectionsMax) + DESCRIPTORS_RESERVED}; it is ${openFilesMax} (ulimit -n)`,
    );
  }
  const jwt = deviceAuth(parsed, problems);
  const link = linkConfig(parsed, problems);
  const tls = tlsOf(parsed, jwt !== undefined, problems);
  const tracing = tracingConfig(parsed, env, problems);
  if (problems.length > 0) throw new ConfigError('edge', problems);
  return {
    ...sharedConfig(parsed),
    tracing,
    edgeId: parsed.LONGLINE_EDGE_ID,
    port: parsed.LONGLINE_EDGE_PORT,
    adminPort: parsed.LONGLINE_EDGE_ADMIN_PORT,
    advertisedUrl: advertisedUrlOf(parsed.LONGLINE_EDGE_ADVERTISED_URL, parsed.LONGLINE_EDGE_ID),
    frontAddress: parsed.LONGLINE_EDGE_FRONT_ADDRESS,
    proxyNetworks: parsed.LONGLINE_PROXY_NETWORKS,
    connectionsMax,
    headBytesMax: parsed.LONGLINE_EDGE_HEAD_BYTES_MAX,
    headTimeoutMs: parsed.LONGLINE_EDGE_HEAD_TIMEOUT_MS,
    heartbeatMs: parsed.LONGLINE_EDGE_HEARTBEAT_MS,
    labelSetsMax: parsed.LONGLINE_EDGE_LABEL_SETS_MAX,
    queryLabels: parsed.LONGLINE_EDGE_QUERY_LABELS,
    mqttAckTimeoutMs: parsed.LONGLINE_EDGE_MQTT_ACK_TIMEOUT_MS,
    mqttKeepAliveMaxMs: parsed.LONGLINE_EDGE_MQTT_KEEP_ALIVE_MAX_MS,
    mqttPublishes: parsed.LONGLINE_EDGE_MQTT_PUBLISHES,
    mqttWills: parsed.LONGLINE_EDGE_MQTT_WILLS,
    sendBufferBytesMax: parsed.LONGLINE_EDGE_SEND_BUFFER_BYTES_MAX,
    inboundBytesPerSecondMax: parsed.LONGLINE_EDGE_INBOUND_BYTES_PER_SECOND_MAX,
    inboundFramesPerSecondMax: parsed.LONGLINE_EDGE_INBOUND_FRAMES_PER_SECOND_MAX,
    connectionsPerPrefixMax: parsed.LONGLINE_EDGE_CONNECTIONS_PER_PREFIX_MAX,
    guestShardsMax: parsed.LONGLINE_EDGE_GUEST_SHARDS_MAX,
    handshakes: {
      perSecondMax: parsed.LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX,
      pendingMax: parsed.LONGLINE_EDGE_HANDSHAKES_PENDING_MAX ?? connectionsMax,
      timeoutMs: parsed.LONGLINE_EDGE_HANDSHAKE_TIMEOUT_MS,
    },
    zone: parsed.LONGLINE_EDGE_ZONE,
    drainMs: parsed.LONGLINE_EDGE_DRAIN_MS,
    keepDevicesS: parsed.LONGLINE_EDGE_USER_DEVICE_DAYS * DAY_S,
    exitWhenDrained: parsed.LONGLINE_EDGE_EXIT_WHEN_DRAINED,
    events: eventConfig(parsed),
    transport: parsed.LONGLINE_TRANSPORT,
    controlAddresses: parsed.LONGLINE_CONTROL_ADDRESS,
    corsOrigins: allowedOrigins(parsed),
    mqttPaths: parsed.LONGLINE_MQTT_PATHS,
    jwt,
    tls,
    link,
  };
}

/** @param urls one for all edges, or one per edge, by the number at the end of its id */
function advertisedUrlOf(urls: readonly string[] | undefined, edgeId: string): string | undefined {
  if (urls === undefined || urls.length === 1) return urls?.[0];
  const ordinal = /-(\d{1,6})$/.exec(edgeId)?.[1];
  const url = urls[Number(ordinal)];
  if (url !== undefined) return url;
  throw new ConfigError('edge', [
    `LONGLINE_EDGE_ADVERTISED_URL: it lists ${urls.length} URLs and none for ${edgeId}; the edge ` +
      'whose id ends with -0 uses the first',
  ]);
}

function tlsOf(
  parsed: z.infer<z.ZodObject<typeof edgeSettings>>,
  hasTokens: boolean,
  problems: string[],
): TlsFiles | undefined {
  const values = {
    certs: parsed.LONGLINE_EDGE_TLS_CERT_FILE,
    keys: parsed.LONGLINE_EDGE_TLS_KEY_FILE,
    minVersion: parsed.LONGLINE_EDGE_TLS_MIN_VERSION,
    ticketKeys: parsed.LONGLINE_EDGE_TLS_TICKET_KEY_FILE,
    clientCa: parsed.LONGLINE_EDGE_TLS_CLIENT_CA_FILE,
    clientCertificates: parsed.LONGLINE_EDGE_TLS_CLIENT_CERTIFICATES,
  };
  const plainUrl = parsed.LONGLINE_EDGE_ADVERTISED_URL?.find((url) => url.startsWith('http:'));
  if (values.certs.length > 0 && plainUrl !== undefined) {
    problems.push(
      `LONGLINE_EDGE_ADVERTISED_URL: ${plainUrl} would lead devices to a port with TLS ` +
        '(LONGLINE_EDGE_TLS_CERT_FILE); use https://',
    );
  }
  const startsPlain = parsed.LONGLINE_PROXY_NETWORKS.length > 0;
  return tlsFilesOf(values, { prefix: 'LONGLINE_EDGE_TLS_', hasTokens, startsPlain }, problems);
}

/** The URL of an edge without LONGLINE_EDGE_ADVERTISED_URL. */
export function defaultAdvertisedUrl(port: number, isTls: boolean): string {
  return `${isTls ? 'https' : 'http'}://${joinHostPort(hostname(), port)}`;
}

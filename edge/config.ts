import { hostname } from 'node:os';
import { z } from 'zod';
import { deviceAuth, deviceAuthSettings, type JwtConfig } from '../common/auth/device-settings.js';
import { type LinkConfig, linkConfig, linkTlsSettings } from '../common/auth/peer-settings.js';
import { parseHostPort } from '../common/net/host-port.js';
import {
  ConfigError,
  type Env,
  integer,
  listOf,
  parseSettings,
  port,
  processName,
  type SharedConfig,
  servingSettings,
  sharedConfig,
  sharedSettings,
} from '../common/process/config.js';
import type { TransportName } from '../common/transport/open-transport.js';
import type { TlsFiles } from '../common/transport/tls-identity.js';
import type { HandshakeOptions } from './accept/handshakes.js';

/**
 * Descriptors that an edge needs beside its devices: Redis, gRPC, HTTP, standard streams, and
 * connections that are being rejected.
 */
const DESCRIPTORS_RESERVED = 512;

const settings = {
  ...sharedSettings,
  ...servingSettings,
  ...deviceAuthSettings,
  ...linkTlsSettings,
  /** Stable across restarts: the ring places shards by it. */
  LONGLINE_EDGE_ID: processName,
  LONGLINE_EDGE_PORT: port(7000),
  LONGLINE_EDGE_ADMIN_PORT: port(7001),
  /** Several, separated by commas: the edge whose id ends with `-n` takes the nth, from 0 on. */
  LONGLINE_EDGE_ADVERTISED_URL: z
    .string()
    .transform((text) => text.split(',').map((url) => url.trim()))
    .pipe(
      z.array(
        z.string().regex(/^https?:\/\/[^/\s?#]+$/, 'expected scheme, host and port without a path'),
      ),
    )
    .optional(),
  LONGLINE_EDGE_FRONT_ADDRESS: z
    .string()
    .refine((text) => parseHostPort(text) !== undefined, 'expected host:port')
    .optional(),
  LONGLINE_EDGE_TLS_CERT_FILE: listOf(z.string().min(1)).default([]),
  LONGLINE_EDGE_TLS_KEY_FILE: listOf(z.string().min(1)).default([]),
  LONGLINE_EDGE_CONNECTIONS_MAX: integer(1, 10_000_000).optional(),
  LONGLINE_EDGE_HEAD_BYTES_MAX: integer(256, 65_536).default(8_192),
  LONGLINE_EDGE_HEAD_TIMEOUT_MS: integer(100, 60_000).default(10_000),
  LONGLINE_EDGE_HEARTBEAT_MS: integer(1_000, 300_000).default(15_000),
  LONGLINE_EDGE_MQTT_KEEP_ALIVE_MAX_MS: integer(10_000, 65_535_000).default(1_200_000),
  LONGLINE_EDGE_MQTT_WILLS: z.enum(['reject', 'ignore']).default('reject'),
  LONGLINE_EDGE_SEND_BUFFER_BYTES_MAX: integer(1_024, 64 * 1024 * 1024).default(256 * 1024),
  LONGLINE_EDGE_INBOUND_BYTES_PER_SECOND_MAX: integer(256, 64 * 1024 * 1024).default(65_536),
  LONGLINE_EDGE_INBOUND_FRAMES_PER_SECOND_MAX: integer(1, 1_000_000).default(1_000),
  LONGLINE_EDGE_CONNECTIONS_PER_PREFIX_MAX: integer(1, 10_000_000).optional(),
  LONGLINE_EDGE_GUEST_SHARDS_MAX: integer(0, 65_536).default(1_024),
  LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX: integer(0, 1_000_000).default(5_000),
  LONGLINE_EDGE_HANDSHAKES_PENDING_MAX: integer(2, 10_000_000).optional(),
  LONGLINE_EDGE_HANDSHAKE_TIMEOUT_MS: integer(100, 600_000).default(30_000),
  LONGLINE_EDGE_ZONE: processName.or(z.literal('')).default(''),
  LONGLINE_EDGE_DRAIN_MS: integer(0, 86_400_000).default(60_000),
  LONGLINE_EDGE_EXIT_WHEN_DRAINED: z
    .enum(['true', 'false'])
    .default('false')
    .transform((text) => text === 'true'),
};

export interface EdgeConfig extends SharedConfig {
  readonly edgeId: string;
  /** Devices connect here. 0: any free port. */
  readonly port: number;
  /** Health and metrics. 0: any free port. */
  readonly adminPort: number;
  /**
   * Where devices reach this edge from outside; undefined: `http://<hostname>:<port>`. Too wrong to
   * be noticed here: a device that is redirected to a dead address finds out.
   */
  readonly advertisedUrl: string | undefined;
  /**
   * `host:port` where the fronts of routers reach this edge; undefined: as in `advertisedUrl`. To be
   * set where that is a public address, or ends TLS.
   */
  readonly frontAddress: string | undefined;
  /**
   * Connections that hold a client; more are rejected with EDGE_FULL. Default: the open-file limit
   * less 512 descriptors for everything else. More than that is an error, never a surprise later.
   */
  readonly connectionsMax: number;
  /** Bound of a request head. Too low rejects long cookies; each pending head may cost this much. */
  readonly headBytesMax: number;
  /** From the first packet to the end of the head, and then again to a confirmed subscription. */
  readonly headTimeoutMs: number;
  /**
   * Every connection gets a comment this often. Below the shortest idle timeout of any middlebox on
   * the way (30 s is common); each doubling halves the cost of idle connections.
   */
  readonly heartbeatMs: number;
  /**
   * How long an MQTT device may be silent at most; a device of MQTT 5 that asks for more, or for no
   * end, is told this instead. One of 3.1.1 that asks for no end gets this, too. Dead peers are
   * found after one and a half times as long; too low costs batteries.
   */
  readonly mqttKeepAliveMaxMs: number;
  /** Wills are never published. `ignore` lets clients in that have one and do without it. */
  readonly mqttWills: 'reject' | 'ignore';
  /** Bytes that wait in user space for one slow client; over it the client is closed as slow. */
  readonly sendBufferBytesMax: number;
  /** What one device may send in a second, beyond its first request; over it it is closed. */
  readonly inboundBytesPerSecondMax: number;
  /**
   * Likewise, in frames of a WebSocket. Too low closes devices that confirm one by one what they have
   * found in their inbox.
   */
  readonly inboundFramesPerSecondMax: number;
  /**
   * Shards of other edges that are listened to for guests; 0: no guest. Too many undo the sharding:
   * every edge would hear every push.
   */
  readonly guestShardsMax: number;
  /** Connections from one place, as far as the edge sees where from; undefined: no bound. */
  readonly connectionsPerPrefixMax: number | undefined;
  /**
   * How many devices are let in: at most so many a second (fewer while the event loop is late), the
   * others wait. Waiting: as many as connections unless set. A wait that is too short turns a storm
   * into one that comes again and again; an EventSource that is rejected never comes back.
   */
  readonly handshakes: HandshakeOptions;
  /** Such as an availability zone; '': none. */
  readonly zone: string;
  /**
   * From SIGTERM until whoever is left is closed; 0: nobody is waited for. Below the time that
   * whatever runs the process grants it before SIGKILL.
   */
  readonly drainMs: number;
  /** Whether the process ends, too, when an operator has drained it; else it waits for SIGTERM. */
  readonly exitWhenDrained: boolean;
  /** What holds the connections; undefined: native where it was built, else net. */
  readonly transport: TransportName | undefined;
  /** `host:port` of the gRPC of each control. */
  readonly controlAddresses: readonly string[];
  readonly corsOrigins: readonly string[] | undefined;
  /** Who may say for whom it connects; see `Networks`. */
  readonly proxyNetworks: readonly string[];
  /** How devices are authenticated; undefined: they are believed. */
  readonly jwt: JwtConfig | undefined;
  /** Certificates for devices; none: without TLS. The first one is for whoever names no other. */
  readonly tls: readonly TlsFiles[];
  /** What control is shown. */
  readonly link: LinkConfig;
}

/**
 * @param openFilesMax the process's limit on open files
 * @throws ConfigError with every problem
 */
export function parseEdgeConfig(env: Env, openFilesMax: number): EdgeConfig {
  const parsed = parseSettings('edge', settings, env);
  const problems: string[] = [];
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
  const tls = tlsFiles(parsed, problems);
  if (problems.length > 0) throw new ConfigError('edge', problems);
  return {
    ...sharedConfig(parsed),
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
    mqttKeepAliveMaxMs: parsed.LONGLINE_EDGE_MQTT_KEEP_ALIVE_MAX_MS,
    mqttWills: parsed.LONGLINE_EDGE_MQTT_WILLS,
    sendBufferBytesMax: parsed.LONGLINE_EDGE_SEND_BUFFER_BYTES_MAX,
    inboundBytesPerSecondMax: parsed.LONGLINE_EDGE_INBOUND_BYTES_PER_SECOND_MAX,
    inboundFramesPerSecondMax: parsed.LONGLINE_EDGE_INBOUND_FRAMES_PER_SECOND_MAX,
    connectionsPerPrefixMax: parsed.LONGLINE_EDGE_CONNECTIONS_PER_PREFIX_MAX,
    guestShardsMax: parsed.LONGLINE_EDGE_GUEST_SHARDS_MAX,
    handshakes: {
      perSecondMax: parsed.LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX,
      waitingMax: parsed.LONGLINE_EDGE_HANDSHAKES_PENDING_MAX ?? connectionsMax,
      waitMsMax: parsed.LONGLINE_EDGE_HANDSHAKE_TIMEOUT_MS,
    },
    zone: parsed.LONGLINE_EDGE_ZONE,
    drainMs: parsed.LONGLINE_EDGE_DRAIN_MS,
    exitWhenDrained: parsed.LONGLINE_EDGE_EXIT_WHEN_DRAINED,
    transport: parsed.LONGLINE_TRANSPORT,
    controlAddresses: parsed.LONGLINE_CONTROL_ADDRESS,
    corsOrigins: parsed.LONGLINE_CORS_ORIGINS,
    jwt,
    tls,
    link,
  };
}

/** @param urls one for all edges, or one for each, by the number that their ids end with */
function advertisedUrlOf(urls: readonly string[] | undefined, edgeId: string): string | undefined {
  if (urls === undefined || urls.length === 1) return urls?.[0];
  const ordinal = /-(\d{1,6})$/.exec(edgeId)?.[1];
  const url = urls[Number(ordinal)];
  if (url !== undefined) return url;
  throw new ConfigError('edge', [
    `LONGLINE_EDGE_ADVERTISED_URL: it has ${urls.length} URLs, and none for ${edgeId}: an id that ` +
      `ends with -0 takes the first`,
  ]);
}

function tlsFiles(
  parsed: z.infer<z.ZodObject<typeof settings>>,
  problems: string[],
): readonly TlsFiles[] {
  const keys = parsed.LONGLINE_EDGE_TLS_KEY_FILE;
  const files = parsed.LONGLINE_EDGE_TLS_CERT_FILE.map((cert, i) => ({ cert, key: keys[i]! }));
  if (files.length !== keys.length) {
    problems.push(
      `LONGLINE_EDGE_TLS_KEY_FILE: ${keys.length} keys for ${files.length} certificates of ` +
        'LONGLINE_EDGE_TLS_CERT_FILE',
    );
  }
  if (files.length > 0 && parsed.LONGLINE_TRANSPORT === 'native') {
    problems.push(
      'LONGLINE_TRANSPORT: native speaks no TLS; with LONGLINE_EDGE_TLS_CERT_FILE it is net, or ' +
        'something in front of the edge ends TLS',
    );
  }
  if (files.length > 0 && parsed.LONGLINE_PROXY_NETWORKS.length > 0) {
    problems.push(
      'LONGLINE_PROXY_NETWORKS: what comes from a proxy is not encrypted, and with ' +
        'LONGLINE_EDGE_TLS_CERT_FILE everything has to be',
    );
  }
  return files;
}

/** What an edge calls itself to devices unless it is told. */
export function defaultAdvertisedUrl(port: number, isTls: boolean): string {
  return `${isTls ? 'https' : 'http'}://${hostname()}:${port}`;
}

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import {
  type GrpcTlsFiles,
  grpcTls,
  grpcTlsSettings,
  type LinkPeers,
  linkPeerSettings,
  linkPeers,
} from '../common/auth/peer-settings.js';
import { TOKEN_ENTRY, type Token, parseToken } from '../common/auth/tokens.js';
import {
  ConfigError,
  type Env,
  integer,
  listOf,
  parseSettings,
  port,
  processName,
  type SharedConfig,
  sharedConfig,
  sharedSettings,
} from '../common/process/config.js';
import type { Settings } from './operator/operation-answers.js';

/** `name:token`, separated by commas. A token is what HTTP admits as one. */
const tokens = listOf(
  z.string().regex(TOKEN_ENTRY, {
    // What came is not repeated: it is a secret.
    error: 'expected name:token, separated by commas, with tokens of at least 16 characters',
  }),
)
  .transform((entries) => entries.map(parseToken))
  .default([]);

const settings = {
  ...sharedSettings,
  ...grpcTlsSettings,
  ...linkPeerSettings,
  LONGLINE_CONTROL_ID: processName.optional(),
  LONGLINE_CONTROL_HTTP_PORT: port(7200),
  LONGLINE_CONTROL_GRPC_PORT: port(7201),
  LONGLINE_CONTROL_LEASE_MS: integer(3_000, 600_000).default(10_000),
  LONGLINE_CONTROL_ADVERTISED_URL: z
    .string()
    .regex(/^https?:\/\/[^/\s?#]+$/, 'expected scheme, host and port without a path')
    .optional(),
  LONGLINE_CONTROL_RECONNECTS_PER_SECOND_MAX: integer(1, 1_000_000).default(2_000),
  LONGLINE_CONTROL_OPERATOR_TOKENS: tokens,
  LONGLINE_CONTROL_VIEWER_TOKENS: tokens,
};

export interface ControlConfig extends SharedConfig {
  /** Names this control in logs and on its reply channels; any unique name, random by default. */
  readonly controlId: string;
  /** Operators ask here: API, health, metrics. 0: any free port. */
  readonly httpPort: number;
  /** Edges and routers connect here. 0: any free port. */
  readonly grpcPort: number;
  /**
   * How long an edge that is not heard keeps its shards, counted from its last report. Edges report
   * every 2 s, so the minimum of 3 s forgives no lost report. Too low, and a short pause of an edge
   * moves its clients; too high, and the clients of a dead edge are sent to it for that long.
   */
  readonly leaseMs: number;
  /** Where other controls and operators reach this one; undefined: `http://<hostname>:<port>`. */
  readonly advertisedUrl: string | undefined;
  /** Clients that moves may send to other edges per second, over the whole cluster. */
  readonly reconnectsPerSecondMax: number;
  /** Who may change something. No token of either kind: everybody may everything. */
  readonly operatorTokens: readonly Token[];
  /** Who may look. */
  readonly viewerTokens: readonly Token[];
  /** Of what edges, routers and operators reach by gRPC; undefined: without TLS. */
  readonly tls: GrpcTlsFiles | undefined;
  /** Which edges and routers are let in. */
  readonly peers: LinkPeers;
}

/** @throws ConfigError with every problem */
export function parseControlConfig(env: Env): ControlConfig {
  const parsed = parseSettings('control', settings, env);
  const problems: string[] = [];
  const tls = grpcTls(parsed, problems);
  const peers = linkPeers(parsed, problems);
  if (problems.length > 0) throw new ConfigError('control', problems);
  return {
    ...sharedConfig(parsed),
    controlId: parsed.LONGLINE_CONTROL_ID ?? `control-${randomBytes(4).toString('hex')}`,
    httpPort: parsed.LONGLINE_CONTROL_HTTP_PORT,
    grpcPort: parsed.LONGLINE_CONTROL_GRPC_PORT,
    leaseMs: parsed.LONGLINE_CONTROL_LEASE_MS,
    advertisedUrl: parsed.LONGLINE_CONTROL_ADVERTISED_URL,
    reconnectsPerSecondMax: parsed.LONGLINE_CONTROL_RECONNECTS_PER_SECOND_MAX,
    operatorTokens: parsed.LONGLINE_CONTROL_OPERATOR_TOKENS,
    viewerTokens: parsed.LONGLINE_CONTROL_VIEWER_TOKENS,
    tls,
    peers,
  };
}

/**
 * All settings, by name, as operators may see them: of a token the name, of a URL no password.
 * @throws ConfigError with every problem
 */
export function shownSettings(env: Env): Settings {
  const { LONGLINE_LINK_TOKEN: secret, ...parsed } = parseSettings('control', settings, env);
  const names = (of: readonly Token[]) => of.map(({ name }) => name);
  // What is not set and has no default is not there.
  const set = Object.entries(parsed).filter((entry): entry is [string, string | number] => {
    return entry[1] !== undefined;
  });
  return {
    ...Object.fromEntries(set),
    ...(secret && { LONGLINE_LINK_TOKEN: `${secret.length} tokens` }),
    LONGLINE_REDIS_URL: parsed.LONGLINE_REDIS_URL.map(withoutPassword),
    LONGLINE_CONTROL_OPERATOR_TOKENS: names(parsed.LONGLINE_CONTROL_OPERATOR_TOKENS),
    LONGLINE_CONTROL_VIEWER_TOKENS: names(parsed.LONGLINE_CONTROL_VIEWER_TOKENS),
  };
}

function withoutPassword(url: string): string {
  const shown = new URL(url);
  shown.password = '';
  return shown.href;
}

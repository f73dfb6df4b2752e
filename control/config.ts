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
import { parseToken, TOKEN_ENTRY, type Token } from '../common/auth/tokens.js';
import type { EventConfig } from '../common/cluster/events/event-stream.js';
import { eventConfig, eventSettings } from '../common/cluster/events/settings.js';
import { canonicalOriginUrl, originUrlProblem } from '../common/net/host-port.js';
import { redactRedisUrl } from '../common/net/redis-url.js';
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
  sharedProblems,
  sharedSettings,
  textWithout,
} from '../common/process/config.js';
import { LOCAL } from './operator/access.js';
import type { Settings } from './operator/operation-responses.js';

/** `name:token`, separated by commas. A token has the syntax of RFC 6750 (`b64token`). */
const tokens = listOf(
  z.string().regex(TOKEN_ENTRY, {
    // The message must not repeat the entry: it is a secret.
    error: 'expected name:token, separated by commas, with tokens of at least 16 characters',
  }),
)
  .transform((entries) => entries.map(parseToken))
  .default([]);

export const controlSettings = {
  ...sharedSettings,
  ...grpcTlsSettings,
  ...linkPeerSettings,
  ...eventSettings,
  LONGLINE_CONTROL_ID: processName
    .optional()
    .describe(
      'Unique name of this control in logs and on its reply channels: 1 to 128 of A-Z a-z 0-9 . _ -. ' +
        'Unset: `control-` and a random number.',
    ),
  LONGLINE_CONTROL_HTTP_PORT: port(7200).describe(
    'Port of the operator API (HTTP), health checks and metrics. 0: any free port.',
  ),
  LONGLINE_CONTROL_GRPC_PORT: port(7201).describe(
    'Port for edges and routers, and for operators that use gRPC. 0: any free port.',
  ),
  LONGLINE_CONTROL_GRPC_CONNECTIONS_MAX: integer(1, 1_000_000)
    .default(10_000)
    .describe(
      'Maximum number of gRPC connections of edges, routers and operators; more are closed at once ' +
        'and counted. Each edge and router has one. Too low, edges cannot report and lose their shards.',
    ),
  LONGLINE_CONTROL_LEASE_MS: integer(3_000, 600_000)
    .default(10_000)
    .describe(
      'Milliseconds that an edge keeps its shards after its last report. Edges report every 2 s, so ' +
        'the minimum of 3000 tolerates no lost report. Too low, a short pause of an edge moves its ' +
        'clients; too high, the clients of a dead edge are sent to it for that long. Below 8000, ' +
        'edges that all fall silent at once with open connections may be declared dead one by one, ' +
        'without a freeze.',
    ),
  LONGLINE_CONTROL_ADVERTISED_URL: textWithout(originUrlProblem)
    .transform(canonicalOriginUrl)
    .optional()
    .describe(
      'URL of the operator API of this control as operators and other controls reach it: scheme, ' +
        'host and port, without a path. Unset: `http://<hostname>:<port>`.',
    ),
  LONGLINE_CONTROL_RECONNECTS_PER_SECOND_MAX: integer(1, 1_000_000)
    .default(2_000)
    .describe(
      'Maximum number of clients per second that moves and drains send to other edges, over the ' +
        'whole cluster. The rate starts at a fiftieth of it, grows by as much every 2 s while the ' +
        'receiving edges have capacity, and falls while they are under pressure. Too low, drains ' +
        'take long; too high, moves load the receiving edges.',
    ),
  LONGLINE_CONTROL_OPERATOR_TOKENS: tokens.describe(
    'Tokens of operators that may change the cluster, as `name:token`, separated by commas. A token ' +
      'has at least 16 of A-Z a-z 0-9 . _ ~ + / -, with optional `=` at the end; its name is shown in ' +
      'the event log. Two tokens may have the same name, so that one can be replaced.',
  ),
  LONGLINE_CONTROL_VIEWER_TOKENS: tokens.describe(
    'Tokens that may only read, in the format of LONGLINE_CONTROL_OPERATOR_TOKENS, whose tokens may ' +
      'read, too. If neither is set, every client that can reach control may do everything; if only ' +
      'this one is set, no client may change anything.',
  ),
  LONGLINE_CONTROL_PAYLOAD_READERS: listOf(z.string())
    .default([])
    .describe(
      'Names of tokens of operators or viewers that may also read the payloads of stored pushes, ' +
        'separated by commas; `local` where no tokens are set. Unset: none.',
    ),
};

/** Parsed settings; the schemas above describe them. */
export interface ControlConfig extends SharedConfig {
  readonly controlId: string;
  readonly httpPort: number;
  readonly grpcPort: number;
  readonly grpcConnectionsMax: number;
  readonly leaseMs: number;
  readonly advertisedUrl: string | undefined;
  readonly reconnectsPerSecondMax: number;
  readonly operatorTokens: readonly Token[];
  readonly viewerTokens: readonly Token[];
  readonly events: EventConfig;
  /** Names of tokens that may read payloads. */
  readonly payloadReaders: readonly string[];
  /** Undefined: gRPC without TLS. */
  readonly tls: GrpcTlsFiles | undefined;
  /** Credentials that edges and routers may present. */
  readonly peers: LinkPeers;
}

/** @throws ConfigError with every problem */
export function parseControlConfig(env: Env): ControlConfig {
  const parsed = parseSettings('control', controlSettings, env);
  const problems = sharedProblems(parsed);
  const tls = grpcTls(parsed, problems);
  const peers = linkPeers(parsed, problems);
  problems.push(...payloadReaderProblems(parsed));
  if (problems.length > 0) throw new ConfigError('control', problems);
  return {
    ...sharedConfig(parsed),
    controlId: parsed.LONGLINE_CONTROL_ID ?? `control-${randomBytes(4).toString('hex')}`,
    httpPort: parsed.LONGLINE_CONTROL_HTTP_PORT,
    grpcPort: parsed.LONGLINE_CONTROL_GRPC_PORT,
    grpcConnectionsMax: parsed.LONGLINE_CONTROL_GRPC_CONNECTIONS_MAX,
    leaseMs: parsed.LONGLINE_CONTROL_LEASE_MS,
    advertisedUrl: parsed.LONGLINE_CONTROL_ADVERTISED_URL,
    reconnectsPerSecondMax: parsed.LONGLINE_CONTROL_RECONNECTS_PER_SECOND_MAX,
    operatorTokens: parsed.LONGLINE_CONTROL_OPERATOR_TOKENS,
    viewerTokens: parsed.LONGLINE_CONTROL_VIEWER_TOKENS,
    events: eventConfig(parsed),
    payloadReaders: parsed.LONGLINE_CONTROL_PAYLOAD_READERS,
    tls,
    peers,
  };
}

/** A name without a token would never match. */
function payloadReaderProblems({
  LONGLINE_CONTROL_OPERATOR_TOKENS: operators,
  LONGLINE_CONTROL_VIEWER_TOKENS: viewers,
  LONGLINE_CONTROL_PAYLOAD_READERS: readers,
}: z.infer<z.ZodObject<typeof controlSettings>>): string[] {
  const names = [...operators, ...viewers].map(({ name }) => name);
  if (names.length === 0) names.push(LOCAL);
  return readers
    .filter((reader) => !names.includes(reader))
    .map((reader) => `LONGLINE_CONTROL_PAYLOAD_READERS: no token has the name ${reader}`);
}

/**
 * All settings by name, without secrets: tokens are replaced by their names, URLs lose passwords.
 * @throws ConfigError with every problem
 */
export function redactedSettings(env: Env): Settings {
  const { LONGLINE_LINK_TOKEN: linkTokens, ...parsed } = parseSettings(
    'control',
    controlSettings,
    env,
  );
  const names = (named: readonly Token[]) => named.map(({ name }) => name);
  // Settings that are unset and have no default are left out.
  const defined = Object.entries(parsed).filter((entry): entry is [string, string | number] => {
    return entry[1] !== undefined;
  });
  return {
    ...Object.fromEntries(defined),
    ...(linkTokens && { LONGLINE_LINK_TOKEN: `${linkTokens.length} tokens` }),
    LONGLINE_REDIS_URL: parsed.LONGLINE_REDIS_URL.map(redactRedisUrl),
    LONGLINE_CONTROL_OPERATOR_TOKENS: names(parsed.LONGLINE_CONTROL_OPERATOR_TOKENS),
    LONGLINE_CONTROL_VIEWER_TOKENS: names(parsed.LONGLINE_CONTROL_VIEWER_TOKENS),
  };
}

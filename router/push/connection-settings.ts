/** Router settings for the connections of backends, over gRPC and HTTP. */
import type { z } from 'zod';
import { integer } from '../../common/process/config.js';
import type { ConnectionsConfig } from '../../common/process/grpc/connections.js';

const HOUR_MS = 3_600_000;
/** Default where no bound is set. */
const CONNECTIONS_DEFAULT_MAX = 1_024;
const REQUEST_MS_MAX = 60_000;
/** Share of the open-file limit that connections of backends may use. */
const OPEN_FILES_SHARE = 1 / 4;

export const connectionSettings = {
  LONGLINE_ROUTER_PUSH_HTTP_PORT: integer(0, 65_535)
    .optional()
    .describe(
      'Port of the Push API over HTTP, for backends without gRPC. It has the tokens, certificates and ' +
        'TLS files of gRPC. 0: any free port. Unset: none.',
    ),
  LONGLINE_ROUTER_GRPC_CONNECTIONS_MAX: integer(1, 1_000_000)
    .optional()
    .describe(
      'Maximum number of gRPC connections of backends; more are closed at once and counted. Unset: ' +
        '1024, or a quarter of the open-file limit if that is less; a value over it is an error at ' +
        'startup (raise `ulimit -n`).',
    ),
  LONGLINE_ROUTER_GRPC_CALLS_PER_CONNECTION_MAX: integer(1, 1_000_000)
    .default(4_096)
    .describe(
      'Maximum number of calls and streams in progress on one gRPC connection (HTTP/2 ' +
        'SETTINGS_MAX_CONCURRENT_STREAMS); clients delay further ones. Too low, calls that wait ' +
        'for devices delay others; too high, one backend can use most of the memory.',
    ),
  LONGLINE_ROUTER_GRPC_CALLS_MAX: integer(1, 10_000_000)
    .default(50_000)
    .describe(
      'Maximum number of gRPC calls and streams in progress, of all backends; more are rejected with ' +
        'OVERLOADED. Too low rejects bursts; too high costs memory, some 30 KiB and a message for each.',
    ),
  LONGLINE_ROUTER_GRPC_CONNECTION_AGE_MS: integer(0, 24 * HOUR_MS)
    .default(600_000)
    .describe(
      'Milliseconds after which the router asks the client of a gRPC connection to open another one ' +
        '(GOAWAY), a tenth more or less at random; 0: never. Calls in progress complete; a PushStream ' +
        'is answered and ends with UNAVAILABLE. A HTTP connection ends with its next response. Too low costs handshakes; too high, backends take ' +
        'that long to use routers that were added.',
    ),
  LONGLINE_ROUTER_GRPC_CONNECTION_GRACE_MS: integer(0, 24 * HOUR_MS)
    .default(HOUR_MS)
    .describe(
      'Milliseconds from the GOAWAY of LONGLINE_ROUTER_GRPC_CONNECTION_AGE_MS until calls that are ' +
        'still in progress are cut. Too low cuts broadcasts and waits for confirmations.',
    ),
  LONGLINE_ROUTER_GRPC_KEEPALIVE_MS: integer(1_000, HOUR_MS)
    .default(20_000)
    .describe(
      'Interval in milliseconds at which the router pings the client of a gRPC connection. Together ' +
        'with LONGLINE_ROUTER_GRPC_KEEPALIVE_TIMEOUT_MS the time after which a client that vanished ' +
        'without closing its connection is gone.',
    ),
  LONGLINE_ROUTER_GRPC_KEEPALIVE_TIMEOUT_MS: integer(100, HOUR_MS)
    .default(10_000)
    .describe(
      'Milliseconds that the answer to such a ping, and a TLS handshake, may take; then the connection ' +
        'is closed. Too low closes connections of clients that pause.',
    ),
};

/** @param problems receives settings that contradict each other */
export function connectionsConfig(
  parsed: z.infer<z.ZodObject<typeof connectionSettings>>,
  openFilesMax: number,
  problems: string[],
): ConnectionsConfig {
  const limit = Math.max(1, Math.floor(openFilesMax * OPEN_FILES_SHARE));
  const connectionsMax =
    parsed.LONGLINE_ROUTER_GRPC_CONNECTIONS_MAX ?? Math.min(CONNECTIONS_DEFAULT_MAX, limit);
  if (connectionsMax > limit) {
    problems.push(
      `LONGLINE_ROUTER_GRPC_CONNECTIONS_MAX: ${connectionsMax} connections need an open-file limit ` +
        `of ${Math.ceil(connectionsMax / OPEN_FILES_SHARE)}; it is ${openFilesMax} (ulimit -n)`,
    );
  }
  return {
    connectionsMax,
    callsPerConnectionMax: parsed.LONGLINE_ROUTER_GRPC_CALLS_PER_CONNECTION_MAX,
    callsMax: parsed.LONGLINE_ROUTER_GRPC_CALLS_MAX,
    requestMsMax: REQUEST_MS_MAX,
    ageMsMax: parsed.LONGLINE_ROUTER_GRPC_CONNECTION_AGE_MS,
    ageGraceMs: parsed.LONGLINE_ROUTER_GRPC_CONNECTION_GRACE_MS,
    keepaliveMs: parsed.LONGLINE_ROUTER_GRPC_KEEPALIVE_MS,
    keepaliveTimeoutMs: parsed.LONGLINE_ROUTER_GRPC_KEEPALIVE_TIMEOUT_MS,
  };
}

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { canonicalOriginUrl, originUrlProblem } from '../common/net/host-port.js';
import {
  ConfigError,
  type Env,
  hostPort,
  integer,
  listOf,
  parseSettings,
  port,
  processName,
  sharedSettings,
  textWithout,
} from '../common/process/config.js';
import { type DeviceKey, readDeviceKey } from './device-tokens.js';

const originUrl = () => textWithout(originUrlProblem).transform(canonicalOriginUrl);

export const canarySettings = {
  LONGLINE_HOST: sharedSettings.LONGLINE_HOST,
  LONGLINE_LOG_LEVEL: sharedSettings.LONGLINE_LOG_LEVEL,
  LONGLINE_CANARY_ID: processName
    .optional()
    .describe(
      'Name of the canary in logs and on the page of control: 1 to 128 of A-Z a-z 0-9 . _ -. Unset: ' +
        '`canary-` and a random number.',
    ),
  LONGLINE_CANARY_HTTP_PORT: port(7300).describe(
    'Port for health checks and metrics. 0: any free port.',
  ),
  LONGLINE_CANARY_CONTROL_URL: originUrl().describe(
    'URL of the operator API of control, from which the canary learns the owners of shards and to ' +
      'which it reports: scheme, host and port, without a path.',
  ),
  LONGLINE_CANARY_CONTROL_TOKEN: z
    .string()
    .optional()
    .describe(
      'Token for control, where it requires one: that of a viewer with the name `canary`, an entry ' +
        '`canary:<token>` in LONGLINE_CONTROL_VIEWER_TOKENS.',
    ),
  LONGLINE_CANARY_CONNECT_URL: listOf(originUrl()).describe(
    'URLs of routers as devices reach them, separated by commas: scheme, host and port, without a ' +
      'path. A way through the balancers of real devices is tested with them.',
  ),
  LONGLINE_CANARY_PUSH_ADDRESS: listOf(hostPort()).describe(
    'gRPC addresses of routers as backends reach them, `host:port`, separated by commas.',
  ),
  LONGLINE_CANARY_PUSH_TOKEN: z
    .string()
    .optional()
    .describe('Token of a backend with the scope `push`, where routers require one.'),
  LONGLINE_CANARY_PUSH_TLS_CA_FILE: z
    .string()
    .optional()
    .describe(
      'PEM file with the authority of the certificates of routers. Unset: gRPC without TLS.',
    ),
  LONGLINE_CANARY_DEVICE_KEY: z
    .string()
    .optional()
    .describe(
      'Key that signs the tokens of synthetic devices, where LONGLINE_AUTH is `jwt`: the PEM of a ' +
        'private key, whose public key is one of LONGLINE_JWT_KEYS, or for HS256 the secret itself. ' +
        'It can sign tokens of any client.',
    ),
  LONGLINE_CANARY_DEVICE_AUDIENCE: z
    .string()
    .optional()
    .describe('Audience of these tokens. Unset: they have none.'),
  LONGLINE_CANARY_DEVICE_ISSUER: z
    .string()
    .optional()
    .describe('Issuer of these tokens. Unset: they have none.'),
  LONGLINE_CANARY_DEVICES_MAX: integer(1, 10_000)
    .default(90)
    .describe(
      'Maximum number of synthetic devices: one per edge, Redis master and protocol. Too low leaves ' +
        'combinations without one, which the metrics count; each device costs a push a second.',
    ),
  LONGLINE_CANARY_PUSHES_PER_SECOND_MAX: integer(1, 10_000)
    .default(30)
    .describe(
      'Maximum pushes per second of the canary. A device gets one per second, or fewer if all ' +
        'together would get more than this. Too low finds faults later; too high costs what as many ' +
        'pushes of a backend cost.',
    ),
  LONGLINE_CANARY_HEARTBEAT_MS: integer(1_000, 3_600_000)
    .default(15_000)
    .describe(
      'LONGLINE_EDGE_HEARTBEAT_MS of the edges. Too low, devices give up connections that are well; ' +
        'too high, they keep dead ones for long.',
    ),
};

export interface CanaryConfig {
  readonly canaryId: string;
  readonly host: string;
  readonly logLevel: string;
  readonly httpPort: number;
  readonly controlUrl: string;
  readonly controlToken: string | undefined;
  readonly connectUrls: readonly string[];
  readonly pushAddresses: readonly string[];
  readonly pushToken: string | undefined;
  /** Authority of the routers' certificates. Undefined: gRPC without TLS. */
  readonly pushCa: Buffer | undefined;
  /** Undefined: devices are not authenticated. */
  readonly deviceKey: DeviceKey | undefined;
  readonly devicesMax: number;
  readonly pushesPerSecondMax: number;
  readonly heartbeatMs: number;
}

/** @throws ConfigError with every problem */
export function parseCanaryConfig(env: Env): CanaryConfig {
  const parsed = parseSettings('canary', canarySettings, env);
  const problems: string[] = [];
  const deviceKey = deviceKeyOf(parsed, problems);
  const pushCa = caOf(parsed.LONGLINE_CANARY_PUSH_TLS_CA_FILE, problems);
  if (problems.length > 0) throw new ConfigError('canary', problems);
  return {
    canaryId: parsed.LONGLINE_CANARY_ID ?? `canary-${randomBytes(4).toString('hex')}`,
    host: parsed.LONGLINE_HOST,
    logLevel: parsed.LONGLINE_LOG_LEVEL,
    httpPort: parsed.LONGLINE_CANARY_HTTP_PORT,
    controlUrl: parsed.LONGLINE_CANARY_CONTROL_URL,
    controlToken: parsed.LONGLINE_CANARY_CONTROL_TOKEN,
    connectUrls: parsed.LONGLINE_CANARY_CONNECT_URL,
    pushAddresses: parsed.LONGLINE_CANARY_PUSH_ADDRESS,
    pushToken: parsed.LONGLINE_CANARY_PUSH_TOKEN,
    pushCa,
    deviceKey,
    devicesMax: parsed.LONGLINE_CANARY_DEVICES_MAX,
    pushesPerSecondMax: parsed.LONGLINE_CANARY_PUSHES_PER_SECOND_MAX,
    heartbeatMs: parsed.LONGLINE_CANARY_HEARTBEAT_MS,
  };
}

function deviceKeyOf(
  {
    LONGLINE_CANARY_DEVICE_KEY: text,
    LONGLINE_CANARY_DEVICE_AUDIENCE: audience,
    LONGLINE_CANARY_DEVICE_ISSUER: issuer,
  }: z.infer<z.ZodObject<typeof canarySettings>>,
  problems: string[],
): DeviceKey | undefined {
  if (text === undefined) {
    if ((audience ?? issuer) !== undefined) {
      problems.push(
        'LONGLINE_CANARY_DEVICE_KEY: missing; audience and issuer are those of its tokens',
      );
    }
    return undefined;
  }
  const read = readDeviceKey(text.trim());
  if (typeof read !== 'string') return { ...read, audience, issuer };
  problems.push(`LONGLINE_CANARY_DEVICE_KEY: ${read}`);
  return undefined;
}

function caOf(file: string | undefined, problems: string[]): Buffer | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file);
  } catch (error) {
    problems.push(`LONGLINE_CANARY_PUSH_TLS_CA_FILE: ${(error as Error).message}`);
    return undefined;
  }
}

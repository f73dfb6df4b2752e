/**
 * Settings come from `LONGLINE_*` environment variables and are parsed once per process. Every
 * problem is reported at once; none is repaired silently.
 *
 * A role's own settings start with `LONGLINE_EDGE_`, `LONGLINE_ROUTER_` or `LONGLINE_CONTROL_`;
 * what several roles share has no role in its name. So a process can tell a misspelt setting of
 * its own (an error) from another role's setting in the same environment (none of its business).
 */
import { z } from 'zod';
import { entriesOf, SECRET_ENTRY } from '../auth/tokens.js';
import { isShardCount } from '../cluster/shard.js';
import { isNetwork } from '../net/networks.js';

export type Env = Readonly<Record<string, string | undefined>>;

export const ROLES = ['edge', 'router', 'control'] as const;
export type Role = (typeof ROLES)[number];

/** Settings that every role has. */
export const sharedSettings = {
  /**
   * `redis://` or `rediss://` with optional user, password and database; several, separated by
   * commas, are seeds of one Redis Cluster. Whether it is a Cluster is asked of the server.
   */
  LONGLINE_REDIS_URL: listOf(
    z.url({ protocol: /^rediss?$/, error: 'expected redis:// or rediss:// URLs' }),
  ),
  /** The master that Sentinels watch under this name; the URLs are the Sentinels' then. */
  LONGLINE_REDIS_SENTINEL_MASTER: z
    .string()
    .regex(
      /^[A-Za-z0-9._-]+$/,
      'expected the name of a master, as in the configuration of Sentinel',
    )
    .optional(),
  /** A cluster setting: stored in Redis at the first start, rejected when it differs later. */
  LONGLINE_SHARD_COUNT: integer(1, 16384)
    .refine(isShardCount, 'expected a power of two')
    .default(4096),
  /** Address that listening sockets bind to. */
  LONGLINE_HOST: z.string().min(1).default('0.0.0.0'),
  LONGLINE_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  /**
   * Nothing is open by accident: `jwt` needs all that lets somebody in to be set, for devices, backends
   * and links alike. With `none` devices are believed, and of the rest is asked for what is set.
   */
  LONGLINE_AUTH: z.enum(['none', 'jwt'], {
    error: "required: 'jwt', or 'none', which means that devices are not authenticated",
  }),
  /** What edges and routers show control: the first is shown, all are accepted. */
  LONGLINE_LINK_TOKEN: listOf(
    z.string().regex(SECRET_ENTRY, 'expected a token of at least 16 characters, or several'),
  ).optional(),
};

/** What every role knows, parsed. */
export interface SharedConfig {
  readonly redisUrls: readonly string[];
  /** Undefined: no Sentinels. */
  readonly redisSentinelMaster: string | undefined;
  readonly shardCount: number;
  readonly host: string;
  readonly logLevel: string;
}

export function sharedConfig(parsed: z.infer<z.ZodObject<typeof sharedSettings>>): SharedConfig {
  return {
    redisUrls: parsed.LONGLINE_REDIS_URL,
    redisSentinelMaster: parsed.LONGLINE_REDIS_SENTINEL_MASTER,
    shardCount: parsed.LONGLINE_SHARD_COUNT,
    host: parsed.LONGLINE_HOST,
    logLevel: parsed.LONGLINE_LOG_LEVEL,
  };
}

/** Settings of the roles that devices talk to: edge and router. Others let them pass. */
export const servingSettings = {
  /** What holds the connections of devices; unset: native where it was built, else net. */
  LONGLINE_TRANSPORT: z.enum(['net', 'native']).optional(),
  /** `host:port` of control's gRPC; several, separated by commas, of several controls. */
  LONGLINE_CONTROL_ADDRESS: listOf(
    z.string().regex(/^([^\s:/]+|\[[0-9a-f:]+\]):\d{1,5}$/i, {
      error: 'expected host:port, or several, separated by commas',
    }),
  ),
  /** Networks in CIDR notation, separated by commas: whoever connects from there may be a proxy. */
  LONGLINE_PROXY_NETWORKS: listOf(
    z.string().refine(isNetwork, {
      error: 'expected networks such as 10.0.0.0/8 or 2001:db8::/32, separated by commas',
    }),
  ).default([]),
  /**
   * PeerAddresses whose pages may connect: `*`, or a comma-separated list such as `https://a.example`.
   * `null` is what a browser sends after a redirect from one foreign origin to another.
   */
  LONGLINE_CORS_ORIGINS: listOf(
    z.union([z.enum(['*', 'null']), z.string().regex(/^https?:\/\/[^/\s]+$/)], {
      error: "expected '*', 'null' or origins such as https://app.example, separated by commas",
    }),
  ).optional(),
};

/** Names that processes carry in the ring, in logs and in channel names. */
export const processName = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,128}$/, 'expected 1-128 of A-Z a-z 0-9 . _ -');

/** 0 lets the system choose a free port. */
export const port = (fallback: number) => integer(0, 65535).default(fallback);

export function integer(min: number, max: number) {
  return z
    .string()
    .regex(/^-?\d{1,15}$/, 'expected a whole number')
    .transform(Number)
    .pipe(z.number().min(min).max(max));
}

/** A list that is separated by commas. */
export function listOf<Entry extends z.ZodType<unknown, string>>(entry: Entry) {
  return z.string().transform(entriesOf).pipe(z.array(entry));
}

/** All that is wrong with an environment, one line per problem. */
export class ConfigError extends Error {
  constructor(
    readonly role: Role,
    readonly problems: readonly string[],
  ) {
    super(
      `${role}: ${problems.length} problem(s) in the environment\n${problems.map((p) => `  ${p}`).join('\n')}`,
    );
  }
}

/**
 * Parses the settings of `shape` from `env`.
 * @throws ConfigError with every problem, unknown settings included
 */
export function parseSettings<Shape extends z.ZodRawShape>(
  role: Role,
  shape: Shape,
  env: Env,
): z.infer<z.ZodObject<Shape>> {
  const problems = Object.keys(env)
    .filter(
      (name) => name.startsWith('LONGLINE_') && !(name in shape) && !isOthers(name, role, shape),
    )
    .map((name) => `${name}: unknown setting`);
  // An empty variable is an unset one, as shells and charts write it.
  const present = Object.fromEntries(
    Object.keys(shape).flatMap((name) => (env[name] ? [[name, env[name]]] : [])),
  );
  const result = z.object(shape).safeParse(present);
  for (const issue of result.error?.issues ?? []) {
    const name = String(issue.path[0]);
    problems.push(`${name}: ${name in present ? issue.message : missing(issue.message)}`);
  }
  if (problems.length > 0 || !result.success) throw new ConfigError(role, problems);
  return result.data;
}

/** What the command line reads, maybe in the same environment. */
const COMMAND_SETTINGS = ['LONGLINE_TOKEN'];

/** Settings that some roles share; whoever has one of a group knows them all. */
const GROUPS = [
  'LONGLINE_JWT_',
  'LONGLINE_TICKET_',
  'LONGLINE_BACKEND_',
  'LONGLINE_GRPC_TLS_',
  'LONGLINE_LINK_TLS_',
  'LONGLINE_LINK_CERTIFICATES',
];

function isOthers(name: string, role: Role, shape: z.ZodRawShape): boolean {
  if (name in servingSettings || COMMAND_SETTINGS.includes(name)) return true;
  const group = GROUPS.find((prefix) => name.startsWith(prefix));
  if (group !== undefined) return !Object.keys(shape).some((own) => own.startsWith(group));
  return ROLES.some(
    (other) => other !== role && name.startsWith(`LONGLINE_${other.toUpperCase()}_`),
  );
}

function missing(message: string): string {
  return message.startsWith('Invalid input') ? 'required' : message;
}

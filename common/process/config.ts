/**
 * Settings come from `LONGLINE_*` environment variables and are parsed once per process. All
 * problems are reported together; none is corrected silently.
 *
 * The settings of one role start with `LONGLINE_EDGE_`, `LONGLINE_ROUTER_`, `LONGLINE_CONTROL_` or
 * `LONGLINE_CANARY_`; shared settings have no role in their name. A process can thus distinguish a
 * misspelt setting of its own (an error) from a setting of another role in the same environment
 * (ignored).
 *
 * The descriptions of the schemas are the source of the settings reference.
 */
import { z } from 'zod';
import { ANY_HOST } from '../net/any-host.js';
import {
  hostPortProblem,
  hostProblem,
  joinHostPort,
  parseHostPort,
  withoutBrackets,
} from '../net/host-port.js';
import { isNetwork } from '../net/networks.js';
import { AllowedOrigins, originProblem } from '../net/origin.js';
import { parseRedisUrl, redisUrlProblem } from '../net/redis-url.js';

export type Env = Readonly<Record<string, string | undefined>>;

export const ROLES = ['edge', 'router', 'control', 'canary'] as const;
export type Role = (typeof ROLES)[number];

/** Settings of edge, router and control; the canary has some of them and ignores the others. */
export const sharedSettings = {
  LONGLINE_REDIS_URL: listOf(textWithout(redisUrlProblem))
    .superRefine((urls, context) => {
      if (urls.some((url) => redisUrlProblem(url) !== undefined)) return;
      const shared = urls.map((url) => {
        const { username, password, isTls } = parseRedisUrl(url);
        return JSON.stringify([username, password, isTls]);
      });
      if (new Set(shared).size <= 1) return;
      const message = 'the URLs must all have the same scheme, user and password';
      context.addIssue({ code: 'custom', message });
    })
    .describe(
      'URL of Redis: `redis://` or `rediss://` (TLS), with optional user and password: ' +
        '`rediss://user:password@host:6379`. In user and password, `% / ? # @ ,` are written ' +
        'percent-encoded, such as `%25` for `%`. Several URLs, separated by commas, are seeds of ' +
        'one Redis Cluster with the same credentials, or Sentinels. Databases other than 0 are ' +
        'rejected: channels of Redis are shared by all databases.',
    ),
  LONGLINE_REDIS_TLS_CA_FILE: z
    .string()
    .optional()
    .describe(
      'PEM file with the authority of the certificates of Redis and its Sentinels, for `rediss://` ' +
        'URLs. A changed file is used for new connections within 2 s. Unset: the authorities that ' +
        'Node.js trusts.',
    ),
  LONGLINE_REDIS_TLS_CERT_FILE: z
    .string()
    .optional()
    .describe(
      'PEM file with the client certificate that is presented to Redis and its Sentinels. Needs ' +
        'LONGLINE_REDIS_TLS_KEY_FILE.',
    ),
  LONGLINE_REDIS_TLS_KEY_FILE: z
    .string()
    .optional()
    .describe('PEM file with the private key of LONGLINE_REDIS_TLS_CERT_FILE.'),
  LONGLINE_REDIS_NAT_MAP: listOf(textWithout(natEntryProblem))
    .refine(
      (entries) => new Set(entries.map((entry) => entry.split('=')[0])).size === entries.length,
      {
        error: 'an announced address is listed twice',
      },
    )
    .default([])
    .describe(
      'Addresses at which Redis is reached, where they differ from those that a Redis Cluster or ' +
        'Sentinels announce: `announced=reachable`, both as `host:port`, separated by commas, such ' +
        'as `10.0.0.1:6379=redis-a.example:7001`. Addresses that are not listed are used as they ' +
        'are. The addresses in LONGLINE_REDIS_URL are never replaced.',
    ),
  LONGLINE_REDIS_SENTINEL_MASTER: z
    .string()
    .regex(/^[A-Za-z0-9._-]+$/, 'expected the name of a master, as in sentinel.conf')
    .optional()
    .describe(
      'Name of the master that Sentinel monitors. If set, LONGLINE_REDIS_URL lists the ' +
        'Sentinels; user and password in the URLs are those of Redis, and Sentinels ' +
        'accept the same user and password or none.',
    ),
  LONGLINE_REDIS_PREFIX: z
    .string()
    .regex(
      /^[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,62}[A-Za-z0-9])?$/,
      'expected 1-64 of A-Z a-z 0-9 . _ : -, starting and ending with a letter or digit; a colon ' +
        'is added',
    )
    .default('')
    .describe(
      'Start of the names of all keys and channels in Redis: with `prod`, the key `ll:settings` is ' +
        '`prod:ll:settings`. 1 to 64 of A-Z a-z 0-9 . _ : -, starting and ending with a letter or ' +
        'digit. Clusters that share a Redis need different prefixes. Fixed for the life of the ' +
        'cluster: under another prefix, stored pushes are not found. Unset: names start with ' +
        '`ll:` and `lr:`.',
    ),
  LONGLINE_REDIS_EVICTION_ACCEPTED: z
    .string()
    .regex(/^(volatile|allkeys)-[a-z]+$/, 'expected a maxmemory-policy such as volatile-lru')
    .optional()
    .describe(
      'The `maxmemory-policy` of Redis, such as `volatile-lru`, under which the process starts ' +
        'although Redis then deletes stored pushes when its memory is full. Devices whose history ' +
        'went receive `reset`. Unset: only `noeviction` is accepted.',
    ),
  LONGLINE_CLUSTER_NAME: z
    .string()
    .regex(/^[A-Za-z0-9._/-]{1,128}$/, 'expected 1-128 of A-Z a-z 0-9 . _ / -')
    .optional()
    .describe(
      'Name that tells this cluster from others, such as `production`: 1 to 128 of A-Z a-z 0-9 . ' +
        '_ / -. It is stored in Redis at the first start; a process with another name, or without ' +
        'one, does not start, and ends if Redis has another name later. So two clusters never mix ' +
        'in one Redis by accident. Unset: clusters with the same prefix are not told apart.',
    ),
  LONGLINE_SHARD_COUNT: integer(1, 16384)
    .refine((count) => (count & (count - 1)) === 0, 'expected a power of two')
    .default(4096)
    .describe(
      'Number of shards, a power of two up to 16384, fixed for the life of the cluster. It is ' +
        'stored in Redis at the first start; a process with another value does not start.',
    ),
  LONGLINE_HOST: textWithout(hostProblem)
    .transform(withoutBrackets)
    .default(ANY_HOST)
    .describe(
      'Address or host name that all listening sockets bind to. `::` accepts IPv6 and IPv4; on a ' +
        'machine without IPv6 it is `0.0.0.0`, which accepts IPv4 only.',
    ),
  LONGLINE_LOG_LEVEL: z
    .enum(['debug', 'info', 'warn', 'error'])
    .default('info')
    .describe('Lowest level that is logged. Logs are JSON lines on standard output.'),
  LONGLINE_AUTH: z
    .enum(['none', 'jwt'], {
      error: "required: 'jwt', or 'none', which means that devices are not authenticated",
    })
    .describe(
      '`jwt`: devices authenticate with a JWT or a resume ticket, and no role starts unless ' +
        'credentials for backends and links are set, too. `none`: devices are not authenticated; ' +
        'backends and links are, if their credentials are set. There is no default, so that no ' +
        'cluster is open by accident. Operators are authenticated by ' +
        'LONGLINE_CONTROL_OPERATOR_TOKENS in either case.',
    ),
};

/** The parsed settings of every role. */
export interface SharedConfig {
  readonly redisUrls: readonly string[];
  /** Undefined: Sentinel is not used. */
  readonly redisSentinelMaster: string | undefined;
  readonly redisTlsFiles: {
    readonly ca: string | undefined;
    readonly own: { readonly cert: string; readonly key: string } | undefined;
  };
  /** `announced=reachable` addresses. */
  readonly redisNatMap: readonly string[];
  /** Empty: none. */
  readonly redisPrefix: string;
  /** The evicting policy that is accepted; undefined: none. */
  readonly redisEvictionAccepted: string | undefined;
  /** Undefined: the cluster has no name. */
  readonly clusterName: string | undefined;
  readonly shardCount: number;
  readonly host: string;
  readonly logLevel: string;
}

type ParsedShared = z.infer<z.ZodObject<typeof sharedSettings>>;

/** The combinations of shared settings that are invalid. */
export function sharedProblems(parsed: ParsedShared): string[] {
  const {
    LONGLINE_REDIS_TLS_CA_FILE: ca,
    LONGLINE_REDIS_TLS_CERT_FILE: cert,
    LONGLINE_REDIS_TLS_KEY_FILE: key,
  } = parsed;
  const problems: string[] = [];
  if ((cert === undefined) !== (key === undefined)) {
    problems.push(
      'LONGLINE_REDIS_TLS_CERT_FILE: needs LONGLINE_REDIS_TLS_KEY_FILE, and the other way around',
    );
  }
  const isTls = parsed.LONGLINE_REDIS_URL.some((url) => parseRedisUrl(url).isTls);
  if ((ca ?? cert ?? key) !== undefined && !isTls) {
    problems.push('LONGLINE_REDIS_TLS_…: need a rediss:// URL in LONGLINE_REDIS_URL');
  }
  return problems;
}

export function sharedConfig(parsed: ParsedShared): SharedConfig {
  const { LONGLINE_REDIS_TLS_CERT_FILE: cert, LONGLINE_REDIS_TLS_KEY_FILE: key } = parsed;
  return {
    redisUrls: parsed.LONGLINE_REDIS_URL,
    redisSentinelMaster: parsed.LONGLINE_REDIS_SENTINEL_MASTER,
    redisTlsFiles: {
      ca: parsed.LONGLINE_REDIS_TLS_CA_FILE,
      own: cert !== undefined && key !== undefined ? { cert, key } : undefined,
    },
    redisNatMap: parsed.LONGLINE_REDIS_NAT_MAP,
    redisPrefix: parsed.LONGLINE_REDIS_PREFIX,
    redisEvictionAccepted: parsed.LONGLINE_REDIS_EVICTION_ACCEPTED,
    clusterName: parsed.LONGLINE_CLUSTER_NAME,
    shardCount: parsed.LONGLINE_SHARD_COUNT,
    host: parsed.LONGLINE_HOST,
    logLevel: parsed.LONGLINE_LOG_LEVEL,
  };
}

/** Settings of the roles that clients connect to: edge and router. Control ignores them. */
export const servingSettings = {
  LONGLINE_TRANSPORT: z
    .enum(['net', 'native'])
    .optional()
    .describe(
      'Socket implementation for client connections on edges and front proxies. `native`: C++ on ' +
        'one epoll descriptor, Linux only; the process does not start where it cannot be loaded. ' +
        '`net`: sockets of Node.js, on every platform. Unset: `native` where it was built, else ' +
        '`net`.',
    ),
  LONGLINE_CONTROL_ADDRESS: listOf(hostPort()).describe(
    'The gRPC address of control as `host:port`, or `[address]:port` with an IPv6 address. List every control, separated by commas: the ' +
      'process tries them in turn until it reaches the leader.',
  ),
  LONGLINE_PROXY_NETWORKS: listOf(
    z.string().refine(isNetwork, {
      error: 'expected networks such as 10.0.0.0/8 or 2001:db8::/32, separated by commas',
    }),
  )
    .default([])
    .describe(
      'Networks or single addresses, separated by commas, of proxies whose PROXY header (version ' +
        '1 or 2) is trusted, such as `10.0.0.0/8,2001:db8::/32`. A PROXY header from any other ' +
        'address is rejected. Listing an address that clients can have lets them forge their ' +
        'source address. With front proxies, edges list the addresses of the routers.',
    ),
  LONGLINE_CORS_ORIGINS: listOf(textWithout(originProblem))
    .default([])
    .describe(
      'Origins whose pages may connect, separated by commas, such as `https://app.example` or ' +
        '`capacitor://localhost`; `https://*.app.example` for all subdomains at any depth, ' +
        'without `app.example` itself; `*` for all. Case and default ports make no difference. ' +
        'Unset: none. Also enforced for WebSockets, except for pages of the host they connect ' +
        'to. A browser that is redirected from one foreign origin to another sends ' +
        '`Origin: null`: add `null`, or let pages query the router for their edge first.',
    ),
  LONGLINE_MQTT_PATHS: listOf(
    z
      .string()
      .regex(/^\/[!$&'()*+./:;=@\w~-]*$/, {
        error: 'expected paths such as /mqtt, separated by commas',
      })
      .refine((path) => path !== '/connect', {
        error: '/connect serves all protocols; choose another path',
      }),
  )
    .default(['/mqtt'])
    .describe(
      'Paths at which edges and fronts serve MQTT over WebSockets, separated by commas. The ' +
        'subprotocol `mqtt` is also accepted at `/connect`.',
    ),
  LONGLINE_APP_ORIGINS: z
    .enum(['reject', 'allow'])
    .default('reject')
    .describe(
      'Clients that are not browsers and send an Origin that no page on the web has, such as ' +
        '`file://`, `app://name` or a plain host name. `reject`: as for any origin that is not ' +
        'in LONGLINE_CORS_ORIGINS. `allow`: they may connect; so may extensions of browsers.',
    ),
};

/** Combines the settings of origins. */
export function allowedOrigins(settings: {
  readonly LONGLINE_CORS_ORIGINS: readonly string[];
  readonly LONGLINE_APP_ORIGINS: 'reject' | 'allow';
}): AllowedOrigins {
  const allowsApps = settings.LONGLINE_APP_ORIGINS === 'allow';
  return new AllowedOrigins(settings.LONGLINE_CORS_ORIGINS, allowsApps);
}

/** Identifier of a process in the hash ring, in logs and in channel names. */
export const processName = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,128}$/, 'expected 1-128 of A-Z a-z 0-9 . _ -');

/** A TCP port; 0: any free port. */
export const port = (fallback: number) => integer(0, 65535).default(fallback);

export function integer(min: number, max: number) {
  return z
    .string()
    .regex(/^-?\d{1,15}$/, 'expected a whole number')
    .transform(Number)
    .pipe(z.number().min(min).max(max));
}

/** A number from 0 to 1, such as 0.01. */
export const share = z
  .string()
  .regex(/^\d(\.\d{1,9})?$/, 'expected a number from 0 to 1, such as 0.01')
  .transform(Number)
  .pipe(z.number().max(1));

/** Text in which a check finds no problem. */
export function textWithout(problemOf: (text: string) => string | undefined) {
  return z.string().superRefine((text, context) => {
    const message = problemOf(text);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });
}

/** Returns what is wrong with text that must be `announced=reachable` addresses. */
function natEntryProblem(text: string): string | undefined {
  const addresses = text.split('=');
  if (addresses.length !== 2) return 'expected announced=reachable, both as host:port';
  return addresses.map(hostPortProblem).find((problem) => problem !== undefined);
}

/** `host:port`, in the form that gRPC reads. */
export function hostPort() {
  return textWithout(hostPortProblem).transform((text) => {
    const { host, port } = parseHostPort(text)!;
    return joinHostPort(host, port);
  });
}

/** A list separated by commas; blanks around entries are ignored. */
export function listOf<Entry extends z.ZodType<unknown, string>>(entry: Entry) {
  return z
    .string()
    .transform((text) => text.split(',').map((part) => part.trim()))
    .pipe(z.array(entry));
}

/** Every problem in an environment, one line each. */
export class ConfigError extends Error {
  constructor(
    readonly role: Role,
    readonly problems: readonly string[],
  ) {
    const lines = problems.map((problem) => `  ${problem}`);
    super([`${role}: ${problems.length} problem(s) in the environment`, ...lines].join('\n'));
  }
}

/**
 * Parses the settings of `shape` from `env`.
 * @throws ConfigError with every problem, including unknown and renamed settings
 */
export function parseSettings<Shape extends z.ZodRawShape>(
  role: Role,
  shape: Shape,
  env: Env,
): z.infer<z.ZodObject<Shape>> {
  const problems = Object.keys(env).flatMap((name) => nameProblem(name, role, shape) ?? []);
  // An empty variable counts as unset: shells and Helm charts write it that way.
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

/** Settings renamed before 1.0, old → new. Ignoring an old name would silently apply a default. */
const RENAMED_SETTINGS: Readonly<Record<string, string>> = {
  LONGLINE_EDGE_HANDSHAKES_WAITING_MAX: 'LONGLINE_EDGE_HANDSHAKES_PENDING_MAX',
  LONGLINE_EDGE_HANDSHAKE_WAIT_MS: 'LONGLINE_EDGE_HANDSHAKE_TIMEOUT_MS',
  LONGLINE_ROUTER_FRONT_WAITING_MAX: 'LONGLINE_ROUTER_FRONT_PENDING_MAX',
};

/** Settings of the command line client, which may share the environment. */
const CLI_SETTINGS = ['LONGLINE_TOKEN', 'LONGLINE_CONTROL', 'LONGLINE_ROUTER'];

/** Prefixes of settings that some roles share. A role has all settings of a group or none. */
const GROUPS = [
  'LONGLINE_JWT_',
  'LONGLINE_TICKET_',
  'LONGLINE_BACKEND_',
  'LONGLINE_GRPC_TLS_',
  'LONGLINE_LINK_TLS_',
  'LONGLINE_LINK_CERTIFICATES',
  'LONGLINE_EVENTS',
  'LONGLINE_TRACING',
];

/** Renamed settings of every role are reported: a shared environment is corrected in one pass. */
function nameProblem(name: string, role: Role, shape: z.ZodRawShape): string | undefined {
  if (!name.startsWith('LONGLINE_') || name in shape) return undefined;
  const renamed = RENAMED_SETTINGS[name];
  if (renamed !== undefined) return `${name} was renamed; set ${renamed} instead`;
  return belongsToOther(name, role, shape) ? undefined : `${name}: unknown setting`;
}

function belongsToOther(name: string, role: Role, shape: z.ZodRawShape): boolean {
  if (name in sharedSettings || name in servingSettings || CLI_SETTINGS.includes(name)) return true;
  const group = GROUPS.find((prefix) => name.startsWith(prefix));
  if (group !== undefined) return !Object.keys(shape).some((own) => own.startsWith(group));
  return ROLES.some(
    (other) => other !== role && name.startsWith(`LONGLINE_${other.toUpperCase()}_`),
  );
}

function missing(message: string): string {
  return message.startsWith('Invalid input') ? 'required' : message;
}

import { describe, expect, test } from '@jest/globals';
import { deviceAuthSettings } from '../../../common/auth/device-settings.js';
import {
  grpcTlsSettings,
  linkPeerSettings,
  linkTlsSettings,
} from '../../../common/auth/peer-settings.js';
import { ConfigError, servingSettings, sharedSettings } from '../../../common/process/config.js';
import { parseControlConfig } from '../../../control/config.js';
import { parseEdgeConfig } from '../../../edge/config.js';
import { parseRouterConfig } from '../../../router/config.js';

const GOOD = {
  LONGLINE_REDIS_URL: 'redis://localhost:6379',
  LONGLINE_AUTH: 'none',
  LONGLINE_EDGE_ID: 'edge-1',
  LONGLINE_CONTROL_ADDRESS: 'localhost:7201',
};

function problemsOf(env: Record<string, string>, openFilesMax = 20_000): readonly string[] {
  try {
    parseEdgeConfig(env, openFilesMax);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

test('every role accepts the settings of the command line in its environment', () => {
  const env = {
    ...GOOD,
    LONGLINE_TOKEN: 'secret',
    LONGLINE_CONTROL: 'http://control:7200',
    LONGLINE_ROUTER: 'router:7101',
  };
  expect(() => parseEdgeConfig(env, 20_000)).not.toThrow();
  expect(() => parseRouterConfig(env, 20_000)).not.toThrow();
  expect(() => parseControlConfig(env)).not.toThrow();
});

describe('parseEdgeConfig', () => {
  test('fills in defaults', () => {
    expect(parseEdgeConfig(GOOD, 20_000)).toMatchObject({
      redisUrls: ['redis://localhost:6379'],
      shardCount: 4096,
      port: 7000,
      adminPort: 7001,
      connectionsMax: 19_488,
      corsOrigins: { isNone: true },
    });
  });

  test('reports every problem at once', () => {
    const problems = problemsOf({
      LONGLINE_REDIS_URL: 'http://x',
      LONGLINE_SHARD_COUNT: '1000',
      LONGLINE_EDGE_PORT: '70000',
      LONGLINE_EDGE_TYPO: '1',
      LONGLINE_CONTROL_ADDRESS: 'localhost',
    });
    const names = problems.map((problem) => problem.split(':')[0]).sort();
    expect(names).toEqual([
      'LONGLINE_AUTH',
      'LONGLINE_CONTROL_ADDRESS',
      'LONGLINE_EDGE_ID',
      'LONGLINE_EDGE_PORT',
      'LONGLINE_EDGE_TYPO',
      'LONGLINE_REDIS_URL',
      'LONGLINE_SHARD_COUNT',
    ]);
  });

  test('ignores settings of other roles, and treats an empty variable as unset', () => {
    expect(problemsOf({ ...GOOD, LONGLINE_ROUTER_OTHER: 'x', LONGLINE_EDGE_PORT: '' })).toEqual([]);
  });

  test.each(['1e3', '0x10', ' 7000', '7000.5', '-1'])('rejects %j as a port', (text) => {
    expect(problemsOf({ ...GOOD, LONGLINE_EDGE_PORT: text })).toHaveLength(1);
  });

  test('rejects more connections than there are descriptors for', () => {
    const env = { ...GOOD, LONGLINE_EDGE_CONNECTIONS_MAX: '19489' };
    expect(problemsOf(env)[0]).toMatch(/need an open-file limit of 20001; it is 20000/);
    expect(problemsOf({ ...GOOD, LONGLINE_EDGE_CONNECTIONS_MAX: '19488' })).toEqual([]);
    expect(problemsOf(GOOD, 64)).toHaveLength(1);
  });

  test('selects one of several advertised URLs by the number at the end of the edge id', () => {
    const urls = 'http://10.0.0.1:31000,http://10.0.0.1:31001';
    const env = { ...GOOD, LONGLINE_EDGE_ADVERTISED_URL: urls };
    const urlOf = (edgeId: string) =>
      parseEdgeConfig({ ...env, LONGLINE_EDGE_ID: edgeId }, 20_000).advertisedUrl;
    expect(urlOf('push-edge-0')).toBe('http://10.0.0.1:31000');
    expect(urlOf('push-edge-1')).toBe('http://10.0.0.1:31001');
    expect(problemsOf({ ...env, LONGLINE_EDGE_ID: 'push-edge-2' })).toHaveLength(1);
    expect(problemsOf({ ...env, LONGLINE_EDGE_ID: 'alone' })[0]).toMatch(/none for alone/);
    expect(problemsOf({ ...env, LONGLINE_EDGE_ADVERTISED_URL: `${urls},nonsense` })).toHaveLength(
      1,
    );
  });

  test('reads several control addresses and the settings of a shutdown', () => {
    expect(parseEdgeConfig(GOOD, 20_000)).toMatchObject({
      controlAddresses: ['localhost:7201'],
      zone: '',
      drainMs: 60_000,
      exitWhenDrained: false,
    });
    const config = parseEdgeConfig(
      {
        ...GOOD,
        LONGLINE_CONTROL_ADDRESS: 'a:1, [::1]:2,c.example:3',
        LONGLINE_EDGE_ZONE: 'eu-1a',
        LONGLINE_EDGE_DRAIN_MS: '0',
        LONGLINE_EDGE_EXIT_WHEN_DRAINED: 'true',
      },
      20_000,
    );
    expect(config).toMatchObject({
      controlAddresses: ['a:1', '[::1]:2', 'c.example:3'],
      zone: 'eu-1a',
      drainMs: 0,
      exitWhenDrained: true,
    });
  });

  test.each(['', 'a', 'a:1,', 'a:1,,b:2', 'a:b'])('rejects %j as control addresses', (text) => {
    expect(problemsOf({ ...GOOD, LONGLINE_CONTROL_ADDRESS: text })).toHaveLength(1);
  });

  test('reads several Redis seeds and several origins', () => {
    const config = parseEdgeConfig(
      {
        ...GOOD,
        LONGLINE_REDIS_URL: 'redis://a:1, redis://b:2',
        LONGLINE_CORS_ORIGINS: 'https://a.example, http://localhost:3000',
      },
      20_000,
    );
    expect(config.redisUrls).toEqual(['redis://a:1', 'redis://b:2']);
    expect(config.corsOrigins.allows('https://a.example')).toBe(true);
    expect(config.corsOrigins.allows('http://localhost:3000')).toBe(true);
    expect(config.corsOrigins.allows('http://localhost')).toBe(false);
  });
});

test.each([
  ['https://a.example,', 'an entry is empty; remove the surplus comma'],
  ['a.example', '"a.example" has no scheme; write it as https://app.example'],
  ['https://a.example/', '"https://a.example/" has a path; an origin ends after the host and port'],
  ['https://u@a.example', '"https://u@a.example" has a user name; an origin has none'],
  ['https://a.example:65536', expect.stringContaining('a port from 1 to 65535')],
  ['https://a.*.example', expect.stringContaining('a wildcard stands for subdomains only')],
])('rejects %j as origins and says why', (origins, reason) => {
  const problems = problemsOf({ ...GOOD, LONGLINE_CORS_ORIGINS: origins });
  expect(problems.map((problem) => problem.replace('LONGLINE_CORS_ORIGINS: ', ''))).toEqual([
    reason,
  ]);
});

describe('a renamed setting', () => {
  const RENAMED = [
    ['LONGLINE_EDGE_HANDSHAKES_WAITING_MAX', 'LONGLINE_EDGE_HANDSHAKES_PENDING_MAX'],
    ['LONGLINE_EDGE_HANDSHAKE_WAIT_MS', 'LONGLINE_EDGE_HANDSHAKE_TIMEOUT_MS'],
    ['LONGLINE_ROUTER_FRONT_WAITING_MAX', 'LONGLINE_ROUTER_FRONT_PENDING_MAX'],
  ] as const;
  const { LONGLINE_EDGE_ID: _, ...router } = GOOD;
  const { LONGLINE_CONTROL_ADDRESS: __, ...control } = router;

  test.each(RENAMED)('stops every role: %s', (old, current) => {
    const problem = `${old} was renamed; set ${current} instead`;
    const set = { [old]: '1000' };
    expect(problemsOf({ ...GOOD, ...set })).toEqual([problem]);
    expect(() => parseRouterConfig({ ...router, ...set }, 20_000)).toThrow(problem);
    expect(() => parseControlConfig({ ...control, ...set })).toThrow(problem);
  });

  test('names the new value, too', () => {
    const [problem] = problemsOf({ ...GOOD, LONGLINE_EDGE_MQTT_WILLS: 'refuse' });
    expect(problem).toMatch(/^LONGLINE_EDGE_MQTT_WILLS: .*reject/);
  });
});

test('every shared setting has a description', () => {
  const groups = [
    sharedSettings,
    servingSettings,
    deviceAuthSettings,
    grpcTlsSettings,
    linkTlsSettings,
    linkPeerSettings,
  ];
  for (const [name, schema] of groups.flatMap((group) => Object.entries(group))) {
    expect([name, schema.description ?? '']).toEqual([name, expect.stringMatching(/\.$/)]);
  }
});

test('a default TTL over the maximum is rejected at the start', () => {
  const env = {
    LONGLINE_REDIS_URL: 'redis://localhost',
    LONGLINE_AUTH: 'none',
    LONGLINE_CONTROL_ADDRESS: 'localhost:7201',
    LONGLINE_ROUTER_TTL_MAX_MS: '1000',
  };
  expect(() => parseRouterConfig(env, 20_000)).toThrow(/TTL_DEFAULT_MS: must not be over/);
  const enough = { ...env, LONGLINE_ROUTER_TTL_DEFAULT_MS: '1000' };
  expect(parseRouterConfig(enough, 20_000)).toMatchObject({
    ttlDefaultMs: 1_000,
    acceptLevel: undefined,
  });
});

describe('the front proxy of a router', () => {
  const env = {
    LONGLINE_REDIS_URL: 'redis://localhost',
    LONGLINE_AUTH: 'none',
    LONGLINE_CONTROL_ADDRESS: 'localhost:7201',
  };
  const withFront = { ...env, LONGLINE_ROUTER_FRONT_PORT: '7102' };

  test('is configured only when it has a port', () => {
    expect(parseRouterConfig(env, 20_000).front).toBeUndefined();
    expect(parseRouterConfig(withFront, 20_000).front).toMatchObject({
      port: 7102,
      proxyNetworks: [],
      sourceAddresses: [],
    });
  });

  test('accepts at most half as many devices as there are spare descriptors', () => {
    expect(parseRouterConfig(withFront, 20_001).front!.devicesMax).toBe(8_720);
    const set = (max: string) => ({ ...withFront, LONGLINE_ROUTER_FRONT_DEVICES_MAX: max });
    expect(parseRouterConfig(set('8720'), 20_000).front!.devicesMax).toBe(8_720);
    expect(() => parseRouterConfig(set('8721'), 20_000)).toThrow(/open-file limit of 20002/);
    expect(() => parseRouterConfig(withFront, 700)).toThrow(/open-file limit/);
  });

  test('rejects invalid networks and addresses', () => {
    const networks = { ...withFront, LONGLINE_PROXY_NETWORKS: '10.0.0.0/8, fd00::/129' };
    expect(() => parseRouterConfig(networks, 20_000)).toThrow(/PROXY_NETWORKS: expected networks/);
    const sources = { ...withFront, LONGLINE_ROUTER_FRONT_SOURCE_ADDRESSES: '127.0.0.1,host' };
    expect(() => parseRouterConfig(sources, 20_000)).toThrow(/SOURCE_ADDRESSES: expected IP/);
  });
});

describe('settings of Redis', () => {
  const rolesOf = (env: Record<string, string>) => [
    () => parseEdgeConfig({ ...GOOD, ...env }, 20_000),
    () => parseRouterConfig({ ...GOOD, ...env }, 20_000),
    () => parseControlConfig({ ...GOOD, ...env }),
  ];

  test.each([
    [{ LONGLINE_REDIS_URL: 'redis://:hunter2%@h' }, /LONGLINE_REDIS_URL: .*write % as %25/],
    [{ LONGLINE_REDIS_URL: 'redis://:hun,ter2@h' }, /LONGLINE_REDIS_URL: /],
    [{ LONGLINE_REDIS_URL: 'redis://h/1' }, /LONGLINE_REDIS_PREFIX/],
    [{ LONGLINE_REDIS_URL: 'redis://a,redis://h/1' }, /LONGLINE_REDIS_PREFIX/],
    [{ LONGLINE_REDIS_URL: 'redis://a,rediss://b' }, /same scheme/],
    [{ LONGLINE_REDIS_URL: 'redis://:hunter2@a,redis://:x@b' }, /same scheme, user and password/],
    [{ LONGLINE_REDIS_TLS_CA_FILE: '/ca.pem' }, /need a rediss:/],
    [
      { LONGLINE_REDIS_URL: 'rediss://h', LONGLINE_REDIS_TLS_CERT_FILE: '/c.pem' },
      /needs LONGLINE_REDIS_TLS_KEY_FILE/,
    ],
    [
      { LONGLINE_REDIS_URL: 'rediss://h', LONGLINE_REDIS_TLS_KEY_FILE: '/k.pem' },
      /LONGLINE_REDIS_TLS_KEY_FILE/,
    ],
    [{ LONGLINE_REDIS_NAT_MAP: '10.0.0.1:6379' }, /announced=reachable/],
    [{ LONGLINE_REDIS_NAT_MAP: 'a:1=b:1=c:1' }, /announced=reachable/],
    [{ LONGLINE_REDIS_NAT_MAP: 'a:1=b' }, /has no port/],
    [{ LONGLINE_REDIS_NAT_MAP: 'a:1=redis://b:1' }, /is a URL/],
    [{ LONGLINE_REDIS_NAT_MAP: '::1:6379=b:1' }, /without brackets/],
    [{ LONGLINE_REDIS_NAT_MAP: 'a:1=b:1,a:1=c:1' }, /listed twice/],
    ...['a{b}', 'a b', 'a*', 'prod:', ':prod', '{', '\u0000', 'ä', 'x'.repeat(65)].map(
      (prefix) => [{ LONGLINE_REDIS_PREFIX: prefix }, /expected 1-64 of/] as const,
    ),
    ...[' ', 'a b', 'a"b', 'x'.repeat(129)].map(
      (name) => [{ LONGLINE_CLUSTER_NAME: name }, /expected 1-128 of/] as const,
    ),
  ])('%j are rejected by every role', (env, problem) => {
    for (const parse of rolesOf(env)) {
      expect(parse).toThrow(ConfigError);
      expect(parse).toThrow(problem);
      expect(parse).not.toThrow('hunter2');
    }
  });

  test.each([
    { LONGLINE_REDIS_URL: 'redis://:a%25b@h/0, redis://:a%25b@[::1]:7000' },
    {
      LONGLINE_REDIS_URL: 'rediss://h',
      LONGLINE_REDIS_TLS_CA_FILE: '/ca.pem',
      LONGLINE_REDIS_TLS_CERT_FILE: '/c.pem',
      LONGLINE_REDIS_TLS_KEY_FILE: '/k.pem',
    },
    { LONGLINE_REDIS_NAT_MAP: '10.0.0.1:6379=h:7001, [2001:db8::1]:6379=[::1]:7001' },
    { LONGLINE_REDIS_PREFIX: 'shop:prod-1.eu', LONGLINE_CLUSTER_NAME: 'longline-system/prod' },
    { LONGLINE_REDIS_PREFIX: 'x'.repeat(64), LONGLINE_CLUSTER_NAME: 'x'.repeat(128) },
  ])('%j are accepted by every role', (env) => {
    for (const parse of rolesOf(env)) expect(parse).not.toThrow();
  });
});

describe.each([
  ['LONGLINE_EDGE_TLS_', {}, parseEdgeConfig],
  ['LONGLINE_ROUTER_FRONT_TLS_', { LONGLINE_ROUTER_FRONT_PORT: '7102' }, parseRouterConfig],
] as const)('%s', (prefix, more, parse) => {
  const CERTIFICATE = { CERT_FILE: 'cert', KEY_FILE: 'key' };
  const JWT = {
    LONGLINE_AUTH: 'jwt',
    LONGLINE_JWT_ALGORITHMS: 'EdDSA',
    LONGLINE_JWT_JWKS_URL: 'https://login.example',
    LONGLINE_TICKET_SECRET: 'x'.repeat(32),
    LONGLINE_LINK_TOKEN: 'x'.repeat(32),
    ...(prefix === 'LONGLINE_EDGE_TLS_'
      ? {}
      : { LONGLINE_BACKEND_TOKENS: `shop:push:${'x'.repeat(32)}` }),
  };

  function parseWith(tls: Record<string, string>, auth = {}) {
    const settings = Object.entries(tls).map(([name, value]) => [prefix + name, value]);
    return parse({ ...GOOD, ...more, ...Object.fromEntries(settings), ...auth }, 20_000);
  }

  test.each([
    [{ CERT_FILE: 'c' }, /KEY_FILE: 0 keys for 1 certificates/],
    [{ CLIENT_CA_FILE: 'c' }, /CLIENT_CA_FILE: LONGLINE_.*CERT_FILE is not set/],
    [{ TICKET_KEY_FILE: 'k' }, /TICKET_KEY_FILE: LONGLINE_.*CERT_FILE is not set/],
    [{ MIN_VERSION: '1.3' }, /MIN_VERSION: LONGLINE_.*CERT_FILE is not set/],
    [{ ...CERTIFICATE, MIN_VERSION: '1.1' }, /MIN_VERSION/],
    [
      { ...CERTIFICATE, CLIENT_CERTIFICATES: 'required' },
      /CLIENT_CERTIFICATES: LONGLINE_.*CLIENT_CA_FILE is not set/,
    ],
    [
      { ...CERTIFICATE, CLIENT_CA_FILE: 'ca', CLIENT_CERTIFICATES: 'optional' },
      /with LONGLINE_AUTH=none, optional certificates authenticate no device/,
    ],
  ])('%j is rejected', (tls, problem) => {
    expect(() => parseWith(tls)).toThrow(problem);
  });

  test('client certificates are required unless they are optional', () => {
    const clients = { ...CERTIFICATE, CLIENT_CA_FILE: 'ca' };
    const read = (tls: Record<string, string>) => {
      const config = parseWith(tls, JWT);
      return 'front' in config ? config.front!.tls : config.tls;
    };
    expect(read(clients)?.clients).toEqual({ ca: 'ca', isRequired: true });
    const optional = read({ ...clients, CLIENT_CERTIFICATES: 'optional' });
    expect(optional?.clients?.isRequired).toBe(false);
    expect(read(CERTIFICATE)).toMatchObject({ clients: undefined, startsPlain: false });
    expect(read({})).toBeUndefined();
  });

  test('TLS may follow a PROXY header', () => {
    const config = parseWith(CERTIFICATE, { LONGLINE_PROXY_NETWORKS: '10.0.0.0/8' });
    expect('front' in config ? config.front!.tls : config.tls).toMatchObject({ startsPlain: true });
  });
});

test('an edge with TLS does not lead devices to http', () => {
  const env = {
    ...GOOD,
    LONGLINE_EDGE_TLS_CERT_FILE: 'cert',
    LONGLINE_EDGE_TLS_KEY_FILE: 'key',
    LONGLINE_EDGE_ADVERTISED_URL: 'https://a.example,http://b.example',
  };
  expect(() => parseEdgeConfig(env, 20_000)).toThrow(
    /LONGLINE_EDGE_ADVERTISED_URL: http:\/\/b\.example would lead devices to a port with TLS/,
  );
});

test('a front with client certificates needs the secret of tickets', () => {
  const env = {
    ...GOOD,
    LONGLINE_ROUTER_FRONT_PORT: '7102',
    LONGLINE_ROUTER_FRONT_TLS_CERT_FILE: 'cert',
    LONGLINE_ROUTER_FRONT_TLS_KEY_FILE: 'key',
    LONGLINE_ROUTER_FRONT_TLS_CLIENT_CA_FILE: 'ca',
  };
  expect(() => parseRouterConfig(env, 20_000)).toThrow(/CLIENT_CA_FILE: needs LONGLINE_AUTH=jwt/);
  const { LONGLINE_ROUTER_FRONT_PORT: _, ...without } = env;
  expect(() => parseRouterConfig(without, 20_000)).toThrow(/FRONT_PORT is not set/);
});

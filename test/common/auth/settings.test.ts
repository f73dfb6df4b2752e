import { describe, expect, test } from '@jest/globals';
import { ConfigError } from '../../../common/process/config.js';
import { parseControlConfig } from '../../../control/config.js';
import { parseEdgeConfig } from '../../../edge/config.js';
import { parseRouterConfig } from '../../../router/config.js';
import { readTokens } from '../../../router/push/backend-settings.js';
import { SECRET } from '../../support/tokens.js';

type Env = Readonly<Record<string, string>>;

const CONTROL: Env = { LONGLINE_REDIS_URL: 'redis://localhost', LONGLINE_AUTH: 'none' };
const SERVING: Env = { ...CONTROL, LONGLINE_CONTROL_ADDRESS: 'localhost:7201' };
const EDGE: Env = { ...SERVING, LONGLINE_EDGE_ID: 'edge-1' };
const JWT: Env = {
  LONGLINE_AUTH: 'jwt',
  LONGLINE_JWT_ALGORITHMS: 'RS256, EdDSA',
  LONGLINE_JWT_KEYS_FILE: '/keys.pem',
  LONGLINE_TICKET_SECRET: SECRET,
  LONGLINE_LINK_TOKEN: 'a-link-token-0123456789',
  LONGLINE_BACKEND_TOKENS: 'shop:push:0123456789abcdef',
};
const LINK_TLS: Env = {
  LONGLINE_LINK_TLS_CA_FILE: 'ca',
  LONGLINE_LINK_TLS_CERT_FILE: 'cert',
  LONGLINE_LINK_TLS_KEY_FILE: 'key',
};
const GRPC_TLS: Env = {
  LONGLINE_GRPC_TLS_CERT_FILE: 'cert',
  LONGLINE_GRPC_TLS_KEY_FILE: 'key',
  LONGLINE_GRPC_TLS_CLIENT_CA_FILE: 'ca',
};

const edge = (env: Env) => parseEdgeConfig({ ...EDGE, ...env }, 20_000);
const router = (env: Env) => parseRouterConfig({ ...SERVING, ...env }, 20_000);
const control = (env: Env) => parseControlConfig({ ...CONTROL, ...env });

/** Returns the names of the invalid settings. */
function invalid(parse: () => unknown): string[] {
  try {
    parse();
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return [...new Set(error.problems.map((problem) => problem.split(':')[0]!))].sort();
  }
}

function without(env: Env, ...names: string[]): Env {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.includes(name)));
}

test('LONGLINE_AUTH is required and accepts two values', () => {
  for (const value of ['', 'off', 'NONE', 'JWT', 'none,jwt']) {
    expect(invalid(() => edge({ LONGLINE_AUTH: value }))).toEqual(['LONGLINE_AUTH']);
    expect(invalid(() => router({ LONGLINE_AUTH: value }))).toEqual(['LONGLINE_AUTH']);
    expect(invalid(() => control({ LONGLINE_AUTH: value }))).toEqual(['LONGLINE_AUTH']);
  }
});

describe('with jwt, every credential is required', () => {
  test('accepts a complete configuration', () => {
    expect(edge(JWT).jwt).toEqual({
      algorithms: ['RS256', 'EdDSA'],
      keys: { type: 'file', path: '/keys.pem' },
      policy: {
        audiences: [],
        issuers: [],
        skewMs: 30_000,
        labelsClaim: 'labels',
        groupsClaim: 'groups',
      },
      ticketSecrets: [SECRET],
    });
    expect(router(JWT).backends.tokens).toMatchObject([{ name: 'shop' }]);
    expect(control(JWT).peers.tokens).toEqual(['a-link-token-0123456789']);
  });

  test('reports every missing credential', () => {
    expect(invalid(() => edge({ LONGLINE_AUTH: 'jwt' }))).toEqual([
      'LONGLINE_JWT_ALGORITHMS',
      'LONGLINE_JWT_KEYS',
      'LONGLINE_LINK_TOKEN',
      'LONGLINE_TICKET_SECRET',
    ]);
    expect(invalid(() => router({ LONGLINE_AUTH: 'jwt' }))).toEqual([
      'LONGLINE_BACKEND_TOKENS',
      'LONGLINE_JWT_ALGORITHMS',
      'LONGLINE_JWT_KEYS',
      'LONGLINE_LINK_TOKEN',
      'LONGLINE_TICKET_SECRET',
    ]);
    expect(invalid(() => control({ LONGLINE_AUTH: 'jwt' }))).toEqual(['LONGLINE_LINK_TOKEN']);
  });

  test('certificates replace tokens', () => {
    const env = without(JWT, 'LONGLINE_LINK_TOKEN', 'LONGLINE_BACKEND_TOKENS');
    expect(edge({ ...env, ...LINK_TLS }).link).toEqual({
      token: undefined,
      tls: { ca: 'ca', own: { cert: 'cert', key: 'key' } },
    });
    const names = { LONGLINE_BACKEND_CERTIFICATES: 'spiffe://prod/shop:push+presence' };
    expect(router({ ...env, ...LINK_TLS, ...GRPC_TLS, ...names }).backends.certificates).toEqual([
      { name: 'spiffe://prod/shop', scopes: new Set(['push', 'presence']) },
    ]);
    const peers = { LONGLINE_LINK_CERTIFICATES: 'edge, router' };
    expect(control({ ...env, ...GRPC_TLS, ...peers }).peers.certificates).toEqual([
      'edge',
      'router',
    ]);
    // An authority alone authorises no name.
    expect(invalid(() => control({ ...env, ...GRPC_TLS }))).toEqual(['LONGLINE_LINK_TOKEN']);
    expect(invalid(() => router({ ...env, ...LINK_TLS, ...GRPC_TLS }))).toEqual([
      'LONGLINE_BACKEND_TOKENS',
    ]);
  });
});

test('with none, keys are rejected rather than ignored', () => {
  const env = { LONGLINE_JWT_KEYS: SECRET };
  expect(invalid(() => edge(env))).toEqual(['LONGLINE_JWT_KEYS']);
  expect(invalid(() => router(env))).toEqual(['LONGLINE_JWT_KEYS']);
});

test.each([
  ['two sources of keys', { LONGLINE_JWT_KEYS: SECRET }, 'LONGLINE_JWT_KEYS_FILE'],
  ['an unknown algorithm', { LONGLINE_JWT_ALGORITHMS: 'RS256,none' }, 'LONGLINE_JWT_ALGORITHMS'],
  ['an empty list', { LONGLINE_JWT_ALGORITHMS: ',' }, 'LONGLINE_JWT_ALGORITHMS'],
  ['a skew of more than five minutes', { LONGLINE_JWT_SKEW_MS: '300001' }, 'LONGLINE_JWT_SKEW_MS'],
  [
    'a secret of 31 characters',
    { LONGLINE_TICKET_SECRET: 's'.repeat(31) },
    'LONGLINE_TICKET_SECRET',
  ],
  ['a short second secret', { LONGLINE_TICKET_SECRET: `${SECRET},x` }, 'LONGLINE_TICKET_SECRET'],
  ['a short link token', { LONGLINE_LINK_TOKEN: 'x'.repeat(15) }, 'LONGLINE_LINK_TOKEN'],
  ['a misspelt setting', { LONGLINE_JWT_AUDIENCES: 'x' }, 'LONGLINE_JWT_AUDIENCES'],
  [
    'a certificate without a key',
    without(LINK_TLS, 'LONGLINE_LINK_TLS_KEY_FILE'),
    'LONGLINE_LINK_TLS_CERT_FILE',
  ],
] as const)('rejects %s', (_, env, name) => {
  expect(invalid(() => edge({ ...JWT, ...env }))).toEqual([name]);
});

test.each([
  ['http://keys.example/jwks', false],
  ['ftp://keys.example/jwks', false],
  ['file:///etc/keys', false],
  ['http://localhost.evil.example/jwks', false],
  ['http://127.0.0.1:8080/jwks', true],
  ['http://[::1]/jwks', true],
  ['https://keys.example/jwks', true],
])('the JWKS URL %s: accepted is %s', (url, isAccepted) => {
  const env = { ...without(JWT, 'LONGLINE_JWT_KEYS_FILE'), LONGLINE_JWT_JWKS_URL: url };
  expect(invalid(() => edge(env))).toEqual(isAccepted ? [] : ['LONGLINE_JWT_JWKS_URL']);
  if (!isAccepted) return;
  const hs256 = { ...env, LONGLINE_JWT_ALGORITHMS: 'HS256' };
  expect(invalid(() => edge(hs256))).toEqual(['LONGLINE_JWT_ALGORITHMS']);
});

test.each([
  'shop',
  'shop:push',
  'shop:0123456789abcdef',
  'shop::0123456789abcdef',
  'shop:admin:0123456789abcdef',
  'shop:push+:0123456789abcdef',
  'shop:push:short',
  'shop:push:0123456789 bcdef',
])('rejects %j as a backend token without repeating it', (entry) => {
  const env = { ...JWT, LONGLINE_BACKEND_TOKENS: entry };
  expect(invalid(() => router(env))).toEqual(['LONGLINE_BACKEND_TOKENS']);
  if (entry.length > 8) expect(() => router(env)).not.toThrow(entry);
  expect(() => readTokens(`# tokens\n${entry}`)).toThrow(/^line 2: expected name:scope/);
});

test('reads a token file', () => {
  const [shop, ops] = readTokens(
    '# backends\nshop:push:0123456789abcdef\r\n\n ops:push+presence+disconnect:c29tZSB2ZXJ5IHNlY3JldA==\n',
  );
  expect(shop).toMatchObject({ name: 'shop', scopes: new Set(['push']) });
  expect(ops).toMatchObject({ name: 'ops', scopes: new Set(['push', 'presence', 'disconnect']) });
});

test('a role ignores a group of settings of which it has none', () => {
  const all = { ...JWT, ...LINK_TLS, LONGLINE_BACKEND_TOKENS: 'nonsense' };
  expect(invalid(() => edge(all))).toEqual([]);
  expect(invalid(() => control({ ...all, LONGLINE_JWT_OTHER: 'x' }))).toEqual([]);
});

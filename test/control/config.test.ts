import { expect, test } from '@jest/globals';
import { hashToken } from '../../common/auth/tokens.js';
import type { ConfigError } from '../../common/process/config.js';
import { parseControlConfig, redactedSettings } from '../../control/config.js';

const env = { LONGLINE_REDIS_URL: 'redis://localhost:6379', LONGLINE_AUTH: 'none' };

test('has defaults for all settings but Redis and authentication', () => {
  expect(parseControlConfig(env)).toEqual({
    controlId: expect.stringMatching(/^control-[0-9a-f]{8}$/),
    redisUrls: ['redis://localhost:6379'],
    redisEvictionAccepted: undefined,
    redisNatMap: [],
    redisPrefix: '',
    redisTlsFiles: { ca: undefined, own: undefined },
    clusterName: undefined,
    shardCount: 4096,
    host: '::',
    logLevel: 'info',
    httpPort: 7200,
    grpcPort: 7201,
    grpcConnectionsMax: 10_000,
    advertisedUrl: undefined,
    reconnectsPerSecondMax: 2_000,
    leaseMs: 10_000,
    operatorTokens: [],
    viewerTokens: [],
    events: { subjects: [], countMax: 2_000, keepMs: 86_400_000 },
    payloadReaders: [],
    tls: undefined,
    peers: { tokens: [], certificates: [] },
  });
});

test('accepts a lease of 3 s and rejects a shorter one', () => {
  expect(parseControlConfig({ ...env, LONGLINE_CONTROL_LEASE_MS: '3000' }).leaseMs).toBe(3_000);
  expect(() => parseControlConfig({ ...env, LONGLINE_CONTROL_LEASE_MS: '2999' })).toThrow(
    /LONGLINE_CONTROL_LEASE_MS/,
  );
});

test('reports all problems at once', () => {
  const bad = { LONGLINE_CONTROL_ID: 'a b', LONGLINE_CONTROL_LEASE: '1' };
  try {
    parseControlConfig(bad);
    throw new Error('accepted');
  } catch (error) {
    expect((error as ConfigError).problems.map((problem) => problem.split(':')[0]).sort()).toEqual([
      'LONGLINE_AUTH',
      'LONGLINE_CONTROL_ID',
      'LONGLINE_CONTROL_LEASE',
      'LONGLINE_REDIS_URL',
    ]);
  }
});

test('keeps only the name and the hash of a token', () => {
  const token = 'c29tZSB2ZXJ5IHNlY3JldA==';
  const LONGLINE_CONTROL_OPERATOR_TOKENS = `ada:${token}, bob:x${token}`;
  const { operatorTokens, viewerTokens } = parseControlConfig({
    ...env,
    LONGLINE_CONTROL_OPERATOR_TOKENS,
    LONGLINE_TOKEN: token,
  });
  expect(operatorTokens).toEqual([
    { name: 'ada', sha256: hashToken(token) },
    { name: 'bob', sha256: hashToken(`x${token}`) },
  ]);
  expect(viewerTokens).toEqual([]);
});

test.each(['ada', 'ada:', 'ada:too-short', ':0123456789abcdef', 'ada:0123456789abcdef,', 'a b:c'])(
  'rejects the tokens %j without repeating them',
  (tokens) => {
    const bad = { ...env, LONGLINE_CONTROL_VIEWER_TOKENS: tokens };
    const problem = 'LONGLINE_CONTROL_VIEWER_TOKENS: expected name:token, separated by commas';
    expect(() => parseControlConfig(bad)).toThrow(problem);
    if (tokens.length > 5) expect(() => parseControlConfig(bad)).not.toThrow(tokens);
  },
);

test('shows the settings without secrets', () => {
  const secret = 'very-secret-token';
  const shown = redactedSettings({
    ...env,
    LONGLINE_REDIS_URL: 'redis://ada:hunter2@a:1,redis://ada:hunter2@[::1]',
    LONGLINE_CONTROL_OPERATOR_TOKENS: `ada:${secret}`,
    LONGLINE_LINK_TOKEN: `${secret},${secret}-next`,
  });
  expect(shown).toMatchObject({
    LONGLINE_REDIS_URL: ['redis://ada@a:1', 'redis://ada@[::1]:6379'],
    LONGLINE_CONTROL_LEASE_MS: 10_000,
    LONGLINE_CONTROL_OPERATOR_TOKENS: ['ada'],
    LONGLINE_CONTROL_VIEWER_TOKENS: [],
    LONGLINE_CONTROL_PAYLOAD_READERS: [],
    LONGLINE_LINK_TOKEN: '2 tokens',
  });
  expect(JSON.stringify(shown)).not.toMatch(/hunter2|very-secret/);
});

test('payloads are read by tokens that exist, or by local where there are none', () => {
  const parse = (readers: string, tokens = '') =>
    parseControlConfig({
      ...env,
      LONGLINE_CONTROL_VIEWER_TOKENS: tokens,
      LONGLINE_CONTROL_PAYLOAD_READERS: readers,
    }).payloadReaders;
  expect(parse('local')).toEqual(['local']);
  expect(parse('vic', 'vic:viewer-token-012345')).toEqual(['vic']);
  for (const readers of ['vic', 'local,vic']) expect(() => parse(readers)).toThrow(/name vic$/);
  expect(() => parse('local', 'vic:viewer-token-012345')).toThrow(/no token has the name local/);
});

import { expect, test } from '@jest/globals';
import type { ConfigError } from '../../common/config.js';
import { parseControlConfig } from '../../control/config.js';

const env = { LONGLINE_REDIS_URL: 'redis://localhost:6379', LONGLINE_AUTH: 'none' };

test('has defaults for all but Redis and authentication', () => {
  expect(parseControlConfig(env)).toEqual({
    controlId: expect.stringMatching(/^control-[0-9a-f]{8}$/),
    redisUrls: ['redis://localhost:6379'],
    shardCount: 4096,
    host: '0.0.0.0',
    logLevel: 'info',
    httpPort: 7200,
    grpcPort: 7201,
    advertisedUrl: undefined,
    reconnectsPerSecondMax: 2_000,
    leaseMs: 10_000,
    operatorTokens: [],
    viewerTokens: [],
  });
});

test('takes a lease of 3 s and not a shorter one', () => {
  expect(parseControlConfig({ ...env, LONGLINE_CONTROL_LEASE_MS: '3000' }).leaseMs).toBe(3_000);
  expect(() => parseControlConfig({ ...env, LONGLINE_CONTROL_LEASE_MS: '2999' })).toThrow(
    /LONGLINE_CONTROL_LEASE_MS/,
  );
});

test('names all problems at once', () => {
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

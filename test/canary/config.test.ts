import { generateKeyPairSync, type KeyPairKeyObjectResult } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { parseCanaryConfig } from '../../canary/config.js';
import { signDeviceToken } from '../../canary/device-tokens.js';
import { ConfigError } from '../../common/process/config.js';
import { ed25519, p256, rsa, SECRET } from '../support/tokens.js';

const REQUIRED = {
  LONGLINE_CANARY_CONTROL_URL: 'http://control:7200',
  LONGLINE_CANARY_CONNECT_URL: 'http://router:7100',
  LONGLINE_CANARY_PUSH_ADDRESS: 'router:7101',
};

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    parseCanaryConfig({ ...REQUIRED, ...env });
    return [];
  } catch (error) {
    return (error as ConfigError).problems;
  }
}

test('three addresses are required, and everything else has a default', () => {
  expect(parseCanaryConfig(REQUIRED)).toMatchObject({
    devicesMax: 90,
    pushesPerSecondMax: 30,
    deviceKey: undefined,
    pushCa: undefined,
  });
  expect(() => parseCanaryConfig({})).toThrow(ConfigError);
});

test('settings of other roles in the same environment are ignored, misspelt ones are not', () => {
  const others = { LONGLINE_REDIS_URL: 'redis://r', LONGLINE_AUTH: 'jwt', LONGLINE_EDGE_ID: 'e' };
  expect(problemsOf(others)).toEqual([]);
  expect(problemsOf({ LONGLINE_CANARY_DEVICE_MAX: '3' })).toEqual([
    'LONGLINE_CANARY_DEVICE_MAX: unknown setting',
  ]);
});

describe('the key of device tokens', () => {
  const pem = ({ privateKey }: KeyPairKeyObjectResult) =>
    String(privateKey.export({ type: 'pkcs8', format: 'pem' }));

  test.each([
    ['HS256', SECRET],
    ['RS256', pem(rsa)],
    ['ES256', pem(p256)],
    ['EdDSA', pem(ed25519)],
  ])('determines the algorithm %s', async (algorithm, key) => {
    const { deviceKey } = parseCanaryConfig({
      ...REQUIRED,
      LONGLINE_CANARY_DEVICE_KEY: key,
      LONGLINE_CANARY_DEVICE_AUDIENCE: 'push',
      LONGLINE_CANARY_DEVICE_ISSUER: 'https://login.example',
    });
    const token = await signDeviceToken(deviceKey!, '_canary-1');
    const [header, claims] = token
      .split('.')
      .slice(0, 2)
      .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()));
    expect(header).toEqual({ alg: algorithm });
    expect(claims).toMatchObject({ sub: '_canary-1', aud: 'push', iss: 'https://login.example' });
    expect(claims.exp - claims.iat).toBe(3_600);
  });

  test.each([
    ['a short secret', 'short', 'a secret has at least 32 bytes'],
    [
      'a public key',
      String(rsa.publicKey.export({ type: 'spki', format: 'pem' })),
      'the PEM has no private key',
    ],
    [
      'another curve',
      pem(generateKeyPairSync('x25519')),
      'expected a key of RSA, P-256 or Ed25519',
    ],
  ])('is rejected if it is %s', (_, key, problem) => {
    expect(problemsOf({ LONGLINE_CANARY_DEVICE_KEY: key })).toEqual([
      `LONGLINE_CANARY_DEVICE_KEY: ${problem}`,
    ]);
  });

  test('is required with an audience', () => {
    expect(problemsOf({ LONGLINE_CANARY_DEVICE_AUDIENCE: 'push' })).toHaveLength(1);
  });
});

test('an authority that cannot be read is a problem', () => {
  expect(problemsOf({ LONGLINE_CANARY_PUSH_TLS_CA_FILE: '/nowhere/ca.pem' })).toEqual([
    expect.stringContaining('LONGLINE_CANARY_PUSH_TLS_CA_FILE: ENOENT'),
  ]);
});

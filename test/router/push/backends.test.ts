import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PeerCertificate } from 'node:tls';
import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import { hashToken } from '../../../common/auth/tokens.js';
import { EnvironmentError } from '../../../common/process/lifecycle.js';
import { Metrics } from '../../../common/process/metrics.js';
import { type BackendConfig, SCOPES } from '../../../router/push/backend-settings.js';
import { type Backend, Backends, type Credentials } from '../../../router/push/backends.js';
import { eventually } from '../../support/eventually.js';

const log = pino({ level: 'silent' });
const SHOP = 'shop-token-0123456789';
const OPS = 'ops-token-0123456789';
const NO_BACKENDS: BackendConfig = {
  tokens: [],
  tokensFile: undefined,
  certificates: [],
  tls: undefined,
};
const TOKENS: BackendConfig = {
  ...NO_BACKENDS,
  tokens: [
    { name: 'shop', scopes: new Set(['push']), sha256: hashToken(SHOP) },
    { name: 'ops', scopes: new Set(SCOPES), sha256: hashToken(OPS) },
  ],
};

function backendsOf(config: BackendConfig, pushesPerSecondMax?: number): Backends {
  return new Backends(config, pushesPerSecondMax, new Metrics());
}

function callWith(authorization?: string, CN?: string): Credentials {
  return { authorization, certificate: CN ? ({ subject: { CN } } as PeerCertificate) : undefined };
}

const bearer = (token: string) => callWith(`Bearer ${token}`);
const unauthenticated = { code: 'UNAUTHENTICATED' };
const permissionDenied = { code: 'PERMISSION_DENIED' };

test('without credentials configured, every caller has every scope', () => {
  const backends = backendsOf(NO_BACKENDS);
  for (const scope of SCOPES) {
    expect(backends.authorize(callWith(), scope)).toMatchObject({ name: 'anonymous' });
  }
});

test('a token has its scopes and no others', () => {
  const backends = backendsOf(TOKENS);
  expect(backends.authorize(bearer(SHOP), 'push')).toMatchObject({ name: 'shop' });
  expect(backends.authorize(bearer(SHOP), 'presence')).toMatchObject(permissionDenied);
  expect(backends.authorize(bearer(SHOP), 'disconnect')).toMatchObject(permissionDenied);
  for (const scope of SCOPES) {
    expect(backends.authorize(bearer(OPS), scope)).toMatchObject({ name: 'ops' });
  }
});

test.each([undefined, '', 'Bearer', `Bearer ${SHOP}x`, `Bearer ${SHOP} x`, `Basic ${SHOP}`, SHOP])(
  'authorization %j is rejected',
  (authorization) => {
    expect(backendsOf(TOKENS).authorize(callWith(authorization), 'push')).toMatchObject(
      unauthenticated,
    );
  },
);

test('a certificate is matched by its name; a token takes precedence', () => {
  const certificates = [{ name: 'shop.example', scopes: new Set(['push'] as const) }];
  const backends = backendsOf({ ...TOKENS, certificates });
  expect(backends.authorize(callWith(undefined, 'shop.example'), 'push')).toMatchObject({
    name: 'shop.example',
  });
  expect(backends.authorize(callWith(undefined, 'shop.example'), 'presence')).toMatchObject(
    permissionDenied,
  );
  expect(backends.authorize(callWith(undefined, 'evil.example'), 'push')).toMatchObject(
    unauthenticated,
  );
  expect(backends.authorize(callWith(`Bearer ${OPS}`, 'shop.example'), 'presence')).toMatchObject({
    name: 'ops',
  });
  expect(backends.authorize(callWith('Bearer x', 'shop.example'), 'push')).toMatchObject(
    unauthenticated,
  );
});

test('tokens follow their file, and an empty file rejects every caller', async () => {
  const tokensFile = join(mkdtempSync(join(tmpdir(), 'longline-tokens-')), 'tokens');
  writeFileSync(tokensFile, `shop:push:${SHOP}\n`);
  const backends = backendsOf({ ...NO_BACKENDS, tokensFile });
  await backends.watchFile(log);
  expect(backends.authorize(bearer(SHOP), 'push')).toMatchObject({ name: 'shop' });
  const { version } = backends;
  writeFileSync(tokensFile, `shop:push:${SHOP}-2\nops:presence:${OPS}\n`);
  await eventually(() => backends.version !== version);
  expect(backends.authorize(bearer(SHOP), 'push')).toMatchObject(unauthenticated);
  expect(backends.authorize(bearer(`${SHOP}-2`), 'push')).toMatchObject({ name: 'shop' });
  expect(backends.authorize(bearer(OPS), 'push')).toMatchObject(permissionDenied);
  writeFileSync(tokensFile, '# none\n');
  await eventually(() => backends.version === version + 2);
  expect(backends.authorize(bearer(OPS), 'presence')).toMatchObject(unauthenticated);
  expect(backends.authorize(callWith(), 'push')).toMatchObject(unauthenticated);
});

test('a token file that cannot be read is an error at startup', async () => {
  const backends = backendsOf({ ...NO_BACKENDS, tokensFile: '/nowhere/tokens' });
  await expect(backends.watchFile(log)).rejects.toThrow(EnvironmentError);
});

test.each([undefined, 10])('counts the pushes of each backend, rate %s', async (max) => {
  const metrics = new Metrics();
  const backends = new Backends(TOKENS, max, metrics);
  const backendOf = (token: string) => backends.authorize(bearer(token), 'push') as Backend;
  for (const count of [1, 2]) backendOf(SHOP).rejectPushes(count);
  backendOf(OPS).rejectPushes(1_000);
  const rejected = backendOf(OPS).rejectPushes(1);
  expect(rejected?.code).toBe(max && 'RATE_LIMITED');
  const name = 'longline_router_backend_pushes_total';
  const text = await metrics.registry.getSingleMetricAsString(name);
  expect(text).toContain('{backend="shop"} 3');
  expect(text).toContain(`{backend="ops"} ${max ? 1_000 : 1_001}`);
});

test('each backend has one rate limit for all of its tokens', () => {
  const second = {
    name: 'shop',
    scopes: new Set(['push'] as const),
    sha256: hashToken(`${SHOP}2`),
  };
  const backends = backendsOf({ ...TOKENS, tokens: [...TOKENS.tokens, second] }, 10);
  const backendOf = (token: string) => backends.authorize(bearer(token), 'push') as Backend;
  for (let i = 0; i < 5; i++) expect(backendOf(SHOP).rejectPushes(1)).toBeUndefined();
  expect(backendOf(`${SHOP}2`).rejectPushes(100)).toBeUndefined();
  expect(backendOf(SHOP).rejectPushes(1)).toMatchObject({ code: 'RATE_LIMITED' });
  expect(backendOf(OPS).rejectPushes(1)).toBeUndefined();
});

import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PeerCertificate } from 'node:tls';
import { Metadata } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import { hashToken } from '../../../common/auth/tokens.js';
import { EnvironmentError } from '../../../common/process/lifecycle.js';
import { Metrics } from '../../../common/process/metrics.js';
import { type BackendConfig, SCOPES } from '../../../router/push/backend-settings.js';
import { type Backend, type BackendCall, Backends } from '../../../router/push/backends.js';
import { eventually } from '../../support/eventually.js';

const log = pino({ level: 'silent' });
const SHOP = 'shop-token-0123456789';
const OPS = 'ops-token-0123456789';
const NOBODY: BackendConfig = {
  tokens: [],
  tokensFile: undefined,
  certificates: [],
  tls: undefined,
};
const TOKENS: BackendConfig = {
  ...NOBODY,
  tokens: [
    { name: 'shop', scopes: new Set(['push']), sha256: hashToken(SHOP) },
    { name: 'ops', scopes: new Set(SCOPES), sha256: hashToken(OPS) },
  ],
};

function backendsOf(config: BackendConfig, pushesPerSecondMax?: number): Backends {
  return new Backends(config, pushesPerSecondMax, new Metrics());
}

function callWith(authorization?: string, CN?: string): BackendCall {
  const metadata = new Metadata();
  if (authorization !== undefined) metadata.set('authorization', authorization);
  const certificate = { subject: { CN } } as PeerCertificate;
  return { metadata, getAuthContext: () => (CN ? { sslPeerCertificate: certificate } : {}) };
}

const bearer = (token: string) => callWith(`Bearer ${token}`);
const nobody = { code: 'UNAUTHENTICATED' };
const notForThis = { code: 'PERMISSION_DENIED' };

test('where nothing is set, anybody may do everything', () => {
  const backends = backendsOf(NOBODY);
  for (const scope of SCOPES) {
    expect(backends.admit(callWith(), scope)).toMatchObject({ name: 'anybody' });
  }
});

test('a token is good for its scopes', () => {
  const backends = backendsOf(TOKENS);
  expect(backends.admit(bearer(SHOP), 'push')).toMatchObject({ name: 'shop' });
  expect(backends.admit(bearer(SHOP), 'presence')).toMatchObject(notForThis);
  expect(backends.admit(bearer(SHOP), 'disconnect')).toMatchObject(notForThis);
  for (const scope of SCOPES) {
    expect(backends.admit(bearer(OPS), scope)).toMatchObject({ name: 'ops' });
  }
});

test.each([undefined, '', 'Bearer', `Bearer ${SHOP}x`, `Bearer ${SHOP} x`, `Basic ${SHOP}`, SHOP])(
  'authorization %j is nobody’s',
  (authorization) => {
    expect(backendsOf(TOKENS).admit(callWith(authorization), 'push')).toMatchObject(nobody);
  },
);

test('a certificate is good by its name; beside a token, the token counts', () => {
  const certificates = [{ name: 'shop.example', scopes: new Set(['push'] as const) }];
  const backends = backendsOf({ ...TOKENS, certificates });
  expect(backends.admit(callWith(undefined, 'shop.example'), 'push')).toMatchObject({
    name: 'shop.example',
  });
  expect(backends.admit(callWith(undefined, 'shop.example'), 'presence')).toMatchObject(notForThis);
  expect(backends.admit(callWith(undefined, 'evil.example'), 'push')).toMatchObject(nobody);
  expect(backends.admit(callWith(`Bearer ${OPS}`, 'shop.example'), 'presence')).toMatchObject({
    name: 'ops',
  });
  expect(backends.admit(callWith('Bearer x', 'shop.example'), 'push')).toMatchObject(nobody);
});

test('tokens of a file come and go with it, and an empty one lets nobody in', async () => {
  const tokensFile = join(mkdtempSync(join(tmpdir(), 'longline-tokens-')), 'tokens');
  writeFileSync(tokensFile, `shop:push:${SHOP}\n`);
  const backends = backendsOf({ ...NOBODY, tokensFile });
  await backends.watchFile(log);
  expect(backends.admit(bearer(SHOP), 'push')).toMatchObject({ name: 'shop' });
  const { version } = backends;
  writeFileSync(tokensFile, `shop:push:${SHOP}-2\nops:presence:${OPS}\n`);
  await eventually(() => backends.version !== version);
  expect(backends.admit(bearer(SHOP), 'push')).toMatchObject(nobody);
  expect(backends.admit(bearer(`${SHOP}-2`), 'push')).toMatchObject({ name: 'shop' });
  expect(backends.admit(bearer(OPS), 'push')).toMatchObject(notForThis);
  writeFileSync(tokensFile, '# nobody\n');
  await eventually(() => backends.version === version + 2);
  expect(backends.admit(bearer(OPS), 'presence')).toMatchObject(nobody);
  expect(backends.admit(callWith(), 'push')).toMatchObject(nobody);
});

test('a file that is of no use is said at the start', async () => {
  const backends = backendsOf({ ...NOBODY, tokensFile: '/nowhere/tokens' });
  await expect(backends.watchFile(log)).rejects.toThrow(EnvironmentError);
});

test('each backend may push so many times a second, whichever token it shows', () => {
  const second = {
    name: 'shop',
    scopes: new Set(['push'] as const),
    sha256: hashToken(`${SHOP}2`),
  };
  const backends = backendsOf({ ...TOKENS, tokens: [...TOKENS.tokens, second] }, 10);
  const admitted = (token: string) => backends.admit(bearer(token), 'push') as Backend;
  for (let i = 0; i < 5; i++) expect(admitted(SHOP).rejectPushes(1)).toBeUndefined();
  expect(admitted(`${SHOP}2`).rejectPushes(100)).toBeUndefined();
  expect(admitted(SHOP).rejectPushes(1)).toMatchObject({ code: 'RATE_LIMITED' });
  expect(admitted(OPS).rejectPushes(1)).toBeUndefined();
});

import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import type { JwtConfig, KeysFrom } from '../../../common/auth/device-settings.js';
import {
  type OpenedAuthenticator,
  openAuthenticator,
} from '../../../common/auth/open-authenticator.js';
import { EnvironmentError } from '../../../common/process/lifecycle.js';
import { Metrics } from '../../../common/process/metrics.js';
import { eventually } from '../../support/eventually.js';
import { claimsOf, ed25519, p256, pemOf, SECRET, signed, tokenOf } from '../../support/tokens.js';

const log = pino({ level: 'silent' });
const opened: OpenedAuthenticator[] = [];
let metrics: Metrics;

afterEach(() => {
  for (const each of opened.splice(0)) each.close();
});

async function open(keys: KeysFrom, more: Partial<JwtConfig> = {}) {
  metrics = new Metrics();
  const policy = {
    audiences: [],
    issuers: [],
    skewMs: 0,
    labelsClaim: 'labels',
    groupsClaim: 'groups',
  };
  const config: JwtConfig = {
    algorithms: ['HS256', 'EdDSA'],
    keys,
    policy,
    ticketSecrets: [SECRET],
    ...more,
  };
  const result = await openAuthenticator(config, log, metrics, 'edge');
  opened.push(result);
  return result.authenticator;
}

const inline: KeysFrom = { type: 'inline', text: SECRET };
const NO_CREDENTIALS = { token: undefined, ticket: undefined };

async function countOf(metric: string, value: string): Promise<number> {
  const found = (await metrics.registry.getSingleMetric(metric)!.get()).values;
  return found.find(({ labels }) => Object.values(labels).includes(value))?.value ?? 0;
}
const rejectedFor = (reason: string) => countOf('longline_edge_tokens_rejected_total', reason);
const acceptedBy = (by: string) => countOf('longline_edge_tokens_accepted_total', by);

test('LONGLINE_AUTH=none accepts every client without expiry and issues no ticket', async () => {
  const { authenticator } = await openAuthenticator(undefined, log, new Metrics(), 'edge');
  const verified = {
    expiresAtMs: Number.POSITIVE_INFINITY,
    issuedAtMs: Number.POSITIVE_INFINITY,
    labels: '',
    groups: '*',
  };
  expect(authenticator.check('alice', NO_CREDENTIALS)).toEqual(verified);
  expect(authenticator.issueTicket('alice', verified)).toBeUndefined();
});

test('a token is accepted for its subject only', async () => {
  const authenticator = await open(inline);
  const token = tokenOf('alice');
  expect(await authenticator.check('alice', { ...NO_CREDENTIALS, token })).toEqual({
    expiresAtMs: expect.any(Number),
    issuedAtMs: expect.any(Number),
    labels: '',
    groups: '',
  });
  expect(await acceptedBy('signature')).toBe(1);
  expect(authenticator.check('alice', { ...NO_CREDENTIALS, token })).not.toBeInstanceOf(Promise);
  expect(await acceptedBy('memory')).toBe(1);
  for (const other of ['Alice', 'alice ', 'alice\u0301', 'bob']) {
    const rejected = await authenticator.check(other, { ...NO_CREDENTIALS, token });
    expect(rejected).toMatchObject({ code: 'PERMISSION_DENIED' });
  }
  expect(await rejectedFor('subject')).toBe(4);
});

test('a token of a user is accepted for each of its devices, that of a device for no other', async () => {
  const authenticator = await open(inline);
  const check = (clientId: string, token: string) =>
    authenticator.check(clientId, { ...NO_CREDENTIALS, token });
  const accepted = {
    expiresAtMs: expect.any(Number),
    issuedAtMs: expect.any(Number),
    labels: '',
    groups: '',
  };
  for (const clientId of ['alice', 'alice/phone', 'alice/tab/7']) {
    expect(await check(clientId, tokenOf('alice'))).toEqual(accepted);
  }
  expect(await check('alice/phone', tokenOf('alice/phone'))).toEqual(accepted);
  for (const clientId of ['alice', 'alice/tablet', 'alice/phone/2', 'alice/phon', 'bob/phone']) {
    expect(await check(clientId, tokenOf('alice/phone'))).toMatchObject({
      code: 'PERMISSION_DENIED',
    });
  }
});

test('a client with a valid ticket or a cached token is known', async () => {
  const authenticator = await open(inline);
  const token = tokenOf('alice');
  const ticket = authenticator.issueTicket('alice', {
    expiresAtMs: Date.now() + 60_000,
    issuedAtMs: 0,
    labels: '',
    groups: '',
  });
  expect(authenticator.isKnown('alice', { ...NO_CREDENTIALS, ticket })).toBe(true);
  expect(authenticator.isKnown('bob', { ...NO_CREDENTIALS, ticket })).toBe(false);
  expect(authenticator.isKnown('alice', { ...NO_CREDENTIALS, token })).toBe(false);
  await authenticator.check('alice', { ...NO_CREDENTIALS, token });
  expect(authenticator.isKnown('alice', { ...NO_CREDENTIALS, token })).toBe(true);
  expect(authenticator.isKnown('alice', NO_CREDENTIALS)).toBe(false);
});

test.each([
  ['nothing', undefined, 'UNAUTHENTICATED', 'missing'],
  ['an empty token', '', 'UNAUTHENTICATED', 'malformed'],
  ['noise', 'noise', 'UNAUTHENTICATED', 'malformed'],
  ['an expired token', tokenOf('alice', { exp: 1 }), 'TOKEN_EXPIRED', 'expired'],
  [
    'a token of another key',
    signed({ alg: 'HS256' }, claimsOf('alice'), 'x'),
    'UNAUTHENTICATED',
    'signature',
  ],
  [
    'a token of another algorithm',
    signed({ alg: 'ES256' }, claimsOf('alice'), p256.privateKey),
    'UNAUTHENTICATED',
    'algorithm',
  ],
  [
    'a token of an algorithm without a key',
    signed({ alg: 'EdDSA' }, claimsOf('alice'), ed25519.privateKey),
    'UNAUTHENTICATED',
    'key',
  ],
  ['a megabyte', 'a'.repeat(1_000_000), 'UNAUTHENTICATED', 'too_long'],
  ['a forged ticket', 'A'.repeat(32), 'UNAUTHENTICATED', 'ticket'],
])('%s is rejected and counted by reason', async (_, token, code, reason) => {
  const authenticator = await open(inline);
  expect(await authenticator.check('alice', { ...NO_CREDENTIALS, token })).toMatchObject({ code });
  expect(await rejectedFor(reason)).toBe(1);
});

test('a ticket is accepted synchronously in either field until the token expires', async () => {
  const authenticator = await open(inline);
  const verified = {
    expiresAtMs: Date.now() + 60_000,
    issuedAtMs: 1_000,
    labels: 'app=ios',
    groups: 'room-*\nteam',
  };
  const ticket = authenticator.issueTicket('alice', verified)!;
  expect(authenticator.check('alice', { ...NO_CREDENTIALS, ticket })).toEqual(verified);
  expect(authenticator.check('alice', { ...NO_CREDENTIALS, token: ticket })).toEqual(verified);
  expect(authenticator.check('alice', { token: tokenOf('alice', { exp: 1 }), ticket })).toEqual(
    verified,
  );
  expect(await acceptedBy('ticket')).toBe(3);
  expect(authenticator.check('bob', { ...NO_CREDENTIALS, ticket })).toMatchObject({
    code: 'UNAUTHENTICATED',
  });
  const old = authenticator.issueTicket('alice', {
    expiresAtMs: Date.now() - 1,
    issuedAtMs: 0,
    labels: '',
    groups: '',
  });
  expect(authenticator.check('alice', { ...NO_CREDENTIALS, ticket: old })).toMatchObject({
    code: 'TOKEN_EXPIRED',
  });
  expect(await rejectedFor('ticket_expired')).toBe(1);
});

test('a valid token is accepted beside an invalid ticket', async () => {
  const authenticator = await open(inline);
  const old = authenticator.issueTicket('alice', {
    expiresAtMs: Date.now() - 1,
    issuedAtMs: 0,
    labels: '',
    groups: '',
  });
  for (const ticket of [old, 'A'.repeat(32), 'noise']) {
    const credentials = { token: tokenOf('alice'), ticket };
    expect(await authenticator.check('alice', credentials)).toEqual({
      expiresAtMs: expect.any(Number),
      issuedAtMs: expect.any(Number),
      labels: '',
      groups: '',
    });
  }
});

test('keys of a file are replaced when it changes, and stay while it cannot be used', async () => {
  const path = join(mkdtempSync(join(tmpdir(), 'longline-keys-')), 'keys');
  writeFileSync(path, SECRET);
  const authenticator = await open({ type: 'file', path });
  const check = (token: string) => authenticator.check('alice', { ...NO_CREDENTIALS, token });
  const old = tokenOf('alice');
  expect(await check(old)).toHaveProperty('expiresAtMs');
  writeFileSync(path, 'too short');
  const next = signed({ alg: 'EdDSA' }, claimsOf('alice'), ed25519.privateKey);
  expect(await check(next)).toMatchObject({ code: 'UNAUTHENTICATED' });
  expect(await check(old)).toHaveProperty('expiresAtMs');
  writeFileSync(path, pemOf(ed25519));
  await eventually(async () => expect(await check(next)).toHaveProperty('expiresAtMs'));
  expect(await check(old)).toMatchObject({ code: 'UNAUTHENTICATED' });
});

test.each([
  ['a missing file', { type: 'file', path: '/nowhere/keys' }],
  ['a short secret', { type: 'inline', text: 'short' }],
  ['keys of other algorithms only', { type: 'inline', text: pemOf(p256) }],
] as const)('does not start with %s', async (_, keys) => {
  await expect(open(keys)).rejects.toThrow(EnvironmentError);
});

test('starts without a JWKS response, rejects every token and is not ready', async () => {
  const url = 'http://127.0.0.1:9/jwks.json';
  const authenticator = await open({ type: 'url', url, refreshMs: 60_000 });
  const token = signed({ alg: 'EdDSA' }, claimsOf('alice'), ed25519.privateKey);
  expect(await authenticator.check('alice', { ...NO_CREDENTIALS, token })).toMatchObject({
    code: 'NOT_READY',
  });
  expect(opened[0]!.notReadyReasons()).toEqual(['no key is available to verify tokens']);
});

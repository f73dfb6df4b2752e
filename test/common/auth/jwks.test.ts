import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { Jwks, type JwksTimes } from '../../../common/auth/jwks.js';
import { JwtVerifier } from '../../../common/auth/jwt.js';
import { KeySet } from '../../../common/auth/key-set.js';
import { Metrics } from '../../../common/process/metrics.js';
import { eventually } from '../../support/eventually.js';
import { claimsOf, jwkOf, p256, rsa, SECRET, signed } from '../../support/tokens.js';

const HOUR_MS = 3_600_000;
const TIMES: JwksTimes = { refreshMs: HOUR_MS, cooldownMs: 0, timeoutMs: 3_000, keepMs: HOUR_MS };

let server: Server;
let url: string;
let asked: number;
let answer: (response: ServerResponse) => void;
const opened: Jwks[] = [];

beforeEach(async () => {
  asked = 0;
  answer = answers([jwkOf(rsa, 'rsa-1')]);
  server = createServer((request, response) => {
    asked++;
    if (request.url === '/elsewhere') response.end(good);
    else answer(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`;
});

afterEach(async () => {
  for (const jwks of opened.splice(0)) jwks.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function answers(keys: readonly object[]) {
  return (response: ServerResponse) => void response.end(JSON.stringify({ keys }));
}

async function open(times: Partial<JwksTimes> = {}) {
  const metrics = new Metrics();
  const fetches = metrics.counter('fetches', 'By outcome.', ['outcome']);
  const keys = new KeySet(['RS256', 'ES256', 'HS256']);
  const log = pino({ level: 'silent' });
  const jwks = new Jwks(url, { ...TIMES, ...times }, (taken) => keys.replace(taken), fetches, log);
  opened.push(jwks);
  keys.lookAgain = () => jwks.lookAgain();
  const verifier = new JwtVerifier(keys, { audiences: [], issuers: [], skewMs: 0 });
  await jwks.start();
  const count = async (outcome: string) =>
    (await fetches.get()).values.find(({ labels }) => labels.outcome === outcome)?.value ?? 0;
  return { jwks, keys, verifier, count };
}

const byRsa = () => signed({ alg: 'RS256', kid: 'rsa-1' }, claimsOf('alice'), rsa.privateKey);
const byP256 = () => signed({ alg: 'ES256', kid: 'ec-1' }, claimsOf('alice'), p256.privateKey);

test('a token of a new key is good as soon as the URL has it', async () => {
  const { verifier } = await open();
  expect(await verifier.verify(byRsa())).toMatchObject({ clientId: 'alice' });
  expect(await verifier.verify(byP256())).toBe('key');
  answer = answers([jwkOf(rsa, 'rsa-1'), jwkOf(p256, 'ec-1')]);
  expect(await verifier.verify(byP256())).toMatchObject({ clientId: 'alice' });
});

test('a key that is withdrawn stops to count with the next fetch', async () => {
  const { verifier } = await open({ refreshMs: 30 });
  const token = byRsa();
  expect(await verifier.verify(token)).toMatchObject({ clientId: 'alice' });
  answer = answers([jwkOf(p256, 'ec-1')]);
  await eventually(async () => expect(await verifier.verify(token)).toBe('key'), 10_000);
});

test('unknown keys lead to one fetch per cooldown, and to one at a time', async () => {
  const { verifier, jwks } = await open({ cooldownMs: HOUR_MS });
  expect(asked).toBe(1);
  for (let i = 0; i < 10; i++) expect(await verifier.verify(byP256())).toBe('key');
  expect(asked).toBe(1);
  jwks.close();
  const { verifier: second } = await open();
  asked = 0;
  const waiting: ServerResponse[] = [];
  answer = (response) => waiting.push(response);
  const verdicts = Array.from({ length: 10 }, () => second.verify(byP256()));
  await eventually(() => expect(waiting).toHaveLength(1));
  answers([jwkOf(p256, 'ec-1')])(waiting[0]!);
  for (const verdict of await Promise.all(verdicts)) {
    expect(verdict).toMatchObject({ clientId: 'alice' });
  }
  expect(asked).toBe(1);
});

const FAULTS: readonly [string, (response: ServerResponse) => void][] = [
  ['answers 500', (response) => void response.writeHead(500).end('oops')],
  ['redirects', (response) => void response.writeHead(302, { location: '/elsewhere' }).end()],
  ['is slow', () => {}],
  [
    'sends a head and then nothing',
    (response) => void response.writeHead(200, { 'content-length': 100 }).flushHeaders(),
  ],
  ['hangs up', (response) => void response.destroy()],
  ['sends too much', (response) => void response.end(`${good}${' '.repeat(256 * 1024)}`)],
  ['sends no JSON', (response) => void response.end('<html>')],
  ['sends a secret as text', (response) => void response.end(SECRET)],
  [
    'sends a secret',
    answers([{ kty: 'oct', kid: 'rsa-1', k: Buffer.from(SECRET).toString('base64url') }]),
  ],
  ['sends no keys', answers([])],
];
const good = JSON.stringify({ keys: [jwkOf(rsa, 'rsa-1')] });

test.each(FAULTS)('with a server that %s nobody is let in', async (_, fault) => {
  answer = fault;
  const { verifier, keys } = await open({ cooldownMs: HOUR_MS });
  expect(keys.isEmpty).toBe(true);
  expect(await verifier.verify(byRsa())).toBe('no_keys');
  const hs256 = signed({ alg: 'HS256', kid: 'rsa-1' }, claimsOf('alice'), SECRET);
  expect(await verifier.verify(hs256)).toBe('no_keys');
  expect(asked).toBe(1);
});

test.each(FAULTS.filter(([fault]) => fault !== 'sends a secret'))(
  'with a server that later %s the last good keys stay, and go when they are too old',
  async (_, fault) => {
    const { verifier, jwks, count } = await open({ keepMs: 400 });
    expect(await verifier.verify(byRsa())).toMatchObject({ clientId: 'alice' });
    asked = 0;
    answer = fault;
    await jwks.lookAgain();
    if ((await count('failed')) === 1) {
      await eventually(async () => {
        asked = 0;
        await jwks.lookAgain();
        expect(await verifier.verify(byRsa())).toBe('no_keys');
      }, 15_000);
    }
    answer = answers([jwkOf(rsa, 'rsa-1')]);
    await jwks.lookAgain();
    expect(await verifier.verify(byRsa())).toMatchObject({ clientId: 'alice' });
  },
);

test('a server that is down is asked again by itself', async () => {
  answer = (response) => void response.writeHead(503).end();
  const { verifier } = await open({ cooldownMs: 30 });
  expect(await verifier.verify(byRsa())).toBe('no_keys');
  answer = answers([jwkOf(rsa, 'rsa-1')]);
  await eventually(async () =>
    expect(await verifier.verify(byRsa())).toMatchObject({ clientId: 'alice' }),
  );
});

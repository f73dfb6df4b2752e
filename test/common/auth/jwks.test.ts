import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { Jwks, type JwksTimes } from '../../../common/auth/jwks.js';
import { JwtVerifier } from '../../../common/auth/jwt.js';
import { KeySet } from '../../../common/auth/key-set.js';
import { collectGarbage } from '../../../common/process/memory/collect-garbage.js';
import { Metrics } from '../../../common/process/metrics.js';
import { eventually } from '../../support/eventually.js';
import { claimsOf, jwkOf, p256, rsa, SECRET, signed } from '../../support/tokens.js';

const HOUR_MS = 3_600_000;
const TIMES: JwksTimes = { refreshMs: HOUR_MS, cooldownMs: 0, timeoutMs: 3_000, keepMs: HOUR_MS };

let server: Server;
let url: string;
let requestCount: number;
let answer: (response: ServerResponse) => void;
const opened: Jwks[] = [];

beforeEach(async () => {
  requestCount = 0;
  answer = answers([jwkOf(rsa, 'rsa-1')]);
  server = createServer((request, response) => {
    requestCount++;
    if (request.url === '/other.json') response.end(good);
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
  const fetches = metrics.counter('fetches', 'Fetches by outcome', ['outcome']);
  const keys = new KeySet(['RS256', 'ES256', 'HS256']);
  const log = pino({ level: 'silent' });
  const jwks = new Jwks(
    url,
    { ...TIMES, ...times },
    (fetched) => keys.replace(fetched),
    fetches,
    log,
  );
  opened.push(jwks);
  keys.refetch = () => jwks.refetch();
  const verifier = new JwtVerifier(keys, {
    audiences: [],
    issuers: [],
    skewMs: 0,
    labelsClaim: 'labels',
    groupsClaim: 'groups',
  });
  await jwks.start();
  const count = async (outcome: string) =>
    (await fetches.get()).values.find(({ labels }) => labels.outcome === outcome)?.value ?? 0;
  return { jwks, keys, verifier, count };
}

const rsaToken = () => signed({ alg: 'RS256', kid: 'rsa-1' }, claimsOf('alice'), rsa.privateKey);
const p256Token = () => signed({ alg: 'ES256', kid: 'ec-1' }, claimsOf('alice'), p256.privateKey);

test('accepts a token of a new key as soon as the URL returns the key', async () => {
  const { verifier } = await open();
  expect(await verifier.verify(rsaToken())).toMatchObject({ clientId: 'alice' });
  expect(await verifier.verify(p256Token())).toBe('key');
  answer = answers([jwkOf(rsa, 'rsa-1'), jwkOf(p256, 'ec-1')]);
  expect(await verifier.verify(p256Token())).toMatchObject({ clientId: 'alice' });
});

test('rejects tokens of a removed key after the next fetch', async () => {
  const { verifier } = await open({ refreshMs: 30 });
  const token = rsaToken();
  expect(await verifier.verify(token)).toMatchObject({ clientId: 'alice' });
  answer = answers([jwkOf(p256, 'ec-1')]);
  await eventually(async () => expect(await verifier.verify(token)).toBe('key'));
});

test('unknown key ids cause one fetch per cooldown, and one at a time', async () => {
  const { verifier, jwks } = await open({ cooldownMs: HOUR_MS });
  expect(requestCount).toBe(1);
  for (let i = 0; i < 10; i++) expect(await verifier.verify(p256Token())).toBe('key');
  expect(requestCount).toBe(1);
  jwks.close();
  const { verifier: second } = await open();
  requestCount = 0;
  const waiting: ServerResponse[] = [];
  answer = (response) => waiting.push(response);
  const verdicts = Array.from({ length: 10 }, () => second.verify(p256Token()));
  await eventually(() => expect(waiting).toHaveLength(1));
  answers([jwkOf(p256, 'ec-1')])(waiting[0]!);
  for (const verdict of await Promise.all(verdicts)) {
    expect(verdict).toMatchObject({ clientId: 'alice' });
  }
  expect(requestCount).toBe(1);
});

const FAULTS: readonly [string, (response: ServerResponse) => void][] = [
  ['answers 500', (response) => void response.writeHead(500).end('oops')],
  ['redirects', (response) => void response.writeHead(302, { location: '/other.json' }).end()],
  ['never responds', () => {}],
  [
    'sends only a response head',
    (response) => void response.writeHead(200, { 'content-length': 100 }).flushHeaders(),
  ],
  ['closes the connection', (response) => void response.destroy()],
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

test.each(FAULTS)('with a server that %s no token is accepted', async (_, fault) => {
  answer = fault;
  const { verifier, keys } = await open({ cooldownMs: HOUR_MS });
  expect(keys.isEmpty).toBe(true);
  expect(await verifier.verify(rsaToken())).toBe('no_keys');
  const hs256 = signed({ alg: 'HS256', kid: 'rsa-1' }, claimsOf('alice'), SECRET);
  expect(await verifier.verify(hs256)).toBe('no_keys');
  expect(requestCount).toBe(1);
});

test.each(FAULTS.filter(([fault]) => fault !== 'sends a secret'))(
  'with a server that later %s the last keys stay in use until they are too old',
  async (_, fault) => {
    const { verifier, jwks, count } = await open({ keepMs: 1_000 });
    expect(await verifier.verify(rsaToken())).toMatchObject({ clientId: 'alice' });
    requestCount = 0;
    answer = fault;
    await jwks.refetch();
    if ((await count('failed')) === 1) {
      await eventually(async () => {
        requestCount = 0;
        await jwks.refetch();
        expect(await verifier.verify(rsaToken())).toBe('no_keys');
      });
    }
    answer = answers([jwkOf(rsa, 'rsa-1')]);
    await jwks.refetch();
    expect(await verifier.verify(rsaToken())).toMatchObject({ clientId: 'alice' });
  },
);

test.each(FAULTS.filter(([fault]) => /never|only/.test(fault)))(
  'a server that %s does not hold up the next fetch when garbage is collected',
  async (_, fault) => {
    answer = fault;
    const timer = setInterval(collectGarbage, 20);
    const { verifier, jwks } = await open({ timeoutMs: 300 });
    clearInterval(timer);
    answer = answers([jwkOf(rsa, 'rsa-1')]);
    // The first may be one that the server had not answered.
    await jwks.refetch();
    await jwks.refetch();
    expect(await verifier.verify(rsaToken())).toMatchObject({ clientId: 'alice' });
  },
);

test('retries a failed fetch after the cooldown', async () => {
  answer = (response) => void response.writeHead(503).end();
  const { verifier } = await open({ cooldownMs: 30 });
  expect(await verifier.verify(rsaToken())).toBe('no_keys');
  answer = answers([jwkOf(rsa, 'rsa-1')]);
  await eventually(async () =>
    expect(await verifier.verify(rsaToken())).toMatchObject({ clientId: 'alice' }),
  );
});

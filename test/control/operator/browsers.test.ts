/** Requests of browsers to the operator API, sessions, and the files of the dashboard. */
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterEach, expect, test } from '@jest/globals';
import { Access } from '../../../control/operator/access.js';
import { Sessions } from '../../../control/operator/http/sessions.js';
import { guarded, OPERATOR, open, VIEWER } from './fake-operations.js';
import { type OperatedControl, startOperatedControl } from './operated-control.js';

let control: OperatedControl;
afterEach(() => control?.stop());

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly text: string;
}

/** Not with `fetch`, which sets the headers of this test itself. */
async function send(
  path: string,
  headers: Record<string, string> = {},
  { method = 'GET', body }: { method?: string; body?: unknown } = {},
): Promise<Answer> {
  const type = body === undefined ? {} : { 'content-type': 'application/json' };
  const call = request(control.url + path, { method, headers: { ...type, ...headers } });
  call.end(body === undefined ? undefined : JSON.stringify(body));
  return new Promise((resolve, reject) => {
    call.once('error', reject);
    call.once('response', async (response) => {
      const answer = { status: response.statusCode!, headers: response.headers as never };
      resolve({ ...answer, text: await text(response) });
    });
  });
}

const pause = (headers: Record<string, string>) =>
  send('/v1/pause', headers, { method: 'POST', body: {} });

/** Begins a session. Returns the cookie as a browser sends it. */
async function signIn(token: string, headers: Record<string, string> = {}): Promise<string> {
  const answer = await send('/session', headers, { method: 'POST', body: { token } });
  expect(answer.status).toBe(200);
  return answer.headers['set-cookie']![0]!.split(';', 1)[0]!;
}

test.each([
  { 'sec-fetch-site': 'cross-site' },
  { 'sec-fetch-site': 'same-site' },
  { 'sec-fetch-site': 'cross-site', origin: 'http://127.0.0.1' },
  { origin: 'http://evil.example' },
  { origin: 'http://127.0.0.1:1' },
  { origin: 'null' },
])('a page of another site can neither read nor steer: %j', async (headers: object) => {
  control = await startOperatedControl();
  const sent = headers as Record<string, string>;
  for (const path of ['/v1/cluster', '/%761/cluster', '/v1/events', '/session']) {
    expect([path, (await send(path, sent)).status]).toEqual([path, 403]);
  }
  expect((await pause(sent)).status).toBe(403);
  expect(control.operations.calls).toEqual([]);
});

test('the own page may, also behind a proxy that changes Host', async () => {
  control = await startOperatedControl();
  const { host } = new URL(control.url);
  for (const headers of [
    { origin: `http://${host}` },
    { 'sec-fetch-site': 'same-origin', origin: 'https://ops.example' },
    { 'x-forwarded-host': 'ops.example', origin: 'https://ops.example' },
    { 'sec-fetch-site': 'none' },
  ]) {
    expect((await send('/v1/cluster', headers)).status).toBe(200);
  }
});

test.each(['evil.example', 'evil.example:7200', '1.2.3.4.example', 'localhost.example'])(
  'without tokens, control does not answer as %s, to which DNS may have been rebound',
  async (host) => {
    control = await startOperatedControl(open);
    for (const headers of [{ host }, { host, origin: `http://${host}` }]) {
      const answer = await send('/v1/cluster', headers);
      expect(answer.status).toBe(403);
      expect(answer.text).toContain('LONGLINE_CONTROL_OPERATOR_TOKENS');
      expect((await pause(headers)).status).toBe(403);
    }
  },
);

test.each(['localhost', '10.0.0.1:7200', '[::1]:7200', 'control', 'c.ns.svc.cluster.local'])(
  'without tokens, control answers as %s',
  async (host) => {
    control = await startOperatedControl(open);
    expect((await send('/v1/cluster', { host })).status).toBe(200);
  },
);

test('with tokens, any name may be used, with a token', async () => {
  control = await startOperatedControl(guarded);
  const headers = { host: 'ops.example', authorization: `Bearer ${VIEWER}` };
  expect((await send('/v1/cluster', headers)).status).toBe(200);
});

test('a session is read and written as its token is', async () => {
  control = await startOperatedControl(guarded);
  expect(JSON.parse((await send('/session')).text)).toEqual({
    actor: null,
    mayWrite: false,
    mayReadPayloads: false,
    isOpen: false,
  });
  const viewer = { cookie: `other=1; ${await signIn(VIEWER)}` };
  expect((await send('/v1/cluster', viewer)).status).toBe(200);
  expect((await pause(viewer)).status).toBe(403);
  const operator = { cookie: await signIn(OPERATOR) };
  expect(JSON.parse((await send('/session', operator)).text)).toMatchObject({
    actor: 'ada',
    mayWrite: true,
  });
  expect((await pause({ ...operator, 'sec-fetch-site': 'cross-site' })).status).toBe(403);
  expect(control.operations.calls).toEqual([]);
  expect((await pause(operator)).status).toBe(200);
  expect(control.operations.calls).toEqual([['pause', { actor: 'ada', reason: '' }]]);
});

test('the cookie cannot be read by scripts, is not sent from other sites, and ends', async () => {
  control = await startOperatedControl(guarded);
  const body = { token: OPERATOR };
  const origin = { 'x-forwarded-host': 'ops.example', origin: 'https://ops.example' };
  const { headers } = await send('/session', origin, { method: 'POST', body });
  expect(headers['set-cookie']![0]).toMatch(
    /^longline-[\da-f]{8}=[\w-]+; Max-Age=43200; HttpOnly; SameSite=Strict; Secure$/,
  );
  expect(headers['set-cookie']![0]).not.toContain(OPERATOR);
  expect(headers['cache-control']).toBe('no-store');
  const ended = await send('/session', {}, { method: 'DELETE' });
  expect(ended.headers['set-cookie']![0]).toMatch(/=; Max-Age=0; HttpOnly/);
});

test('an unknown token begins no session, and neither does anything else', async () => {
  control = await startOperatedControl(guarded);
  const post = (body: unknown) => send('/session', {}, { method: 'POST', body });
  expect((await post({ token: `${OPERATOR}x` })).status).toBe(401);
  expect((await post({ token: '' })).status).toBe(401);
  expect((await post({})).status).toBe(400);
  expect((await post({ token: 'x'.repeat(5_000) })).status).toBe(413);
});

test('a forged, cut or foreign session is none', async () => {
  control = await startOperatedControl(guarded);
  const cookie = await signIn(OPERATOR);
  const foreign = new Sessions(new Access(guarded.operators, [])).cookie(OPERATOR, false);
  const name = cookie.slice(0, cookie.indexOf('='));
  const forged = [
    `${cookie.slice(0, -2)}AA`,
    cookie.slice(0, -8),
    `${name}=`,
    `${name}=%00`,
    `${name}${foreign.slice(foreign.indexOf('='), foreign.indexOf(';'))}`,
  ];
  for (const each of forged) {
    expect([each, (await send('/v1/cluster', { cookie: each })).status]).toEqual([each, 401]);
  }
  // A header takes precedence.
  expect((await send('/v1/cluster', { cookie, authorization: 'Bearer x' })).status).toBe(401);
});

test('the page is served compressed, with a strict policy, and is not sent twice', async () => {
  control = await startOperatedControl(guarded);
  const page = await send('/');
  expect(page.status).toBe(200);
  expect(page.text).toContain('dashboard.js');
  expect(page.headers['content-security-policy']).toContain(
    "default-src 'none'; script-src 'self'",
  );
  const { etag } = page.headers;
  expect((await send('/', { 'if-none-match': etag! })).status).toBe(304);
  expect((await send('/', { 'if-none-match': `W/${etag}` })).status).toBe(304);
  let bytes = 0;
  for (const path of ['/', '/dashboard.js', '/dashboard.css']) {
    const response = await fetch(control.url + path);
    expect(response.headers.get('content-encoding')).toBe('gzip');
    await response.text();
    bytes += Number(response.headers.get('content-length'));
  }
  expect(bytes).toBeLessThan(150_000);
});

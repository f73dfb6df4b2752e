/**
 * Goal: every answer of the Push API over HTTP has a verdict or a code, and bad input harms nothing
 * else. Method: the real server with a pusher that answers when the test says so.
 */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  AcceptLevel,
  PushRequest,
  WaitFor,
  WhenSlow,
} from '../../../../proto/gen/longline/v1/push.js';
import {
  connection,
  PAYLOAD_BYTES_MAX,
  PUSH_TOKEN,
  READ_TOKEN,
  TestRouter,
} from './test-router.js';

let router: TestRouter;
beforeEach(async () => {
  router = await TestRouter.start();
});
afterEach(() => router.stop());

describe('a push', () => {
  test('has the fields of the request', async () => {
    const { status, body } = await router.post('/v1/push', {
      clientId: 'alice/phone',
      payload: { order: 17 },
      waitMs: 5,
      ttlMs: 6_000,
      idempotencyKey: 'o-17',
      appendTo: 'answer',
      appendEnd: true,
      acceptLevel: 'replicated',
      replicas: 2,
      waitFor: 'acked',
      notifyUnreadAfterMs: 3_000,
      whenSlow: 'keep',
      flightRecord: true,
    });
    expect(status).toBe(200);
    expect(body).toEqual({ verdict: 'STORED', messageId: '1-0', acceptLevel: 'accepted' });
    expect(router.begun).toEqual([
      {
        clientId: 'alice/phone',
        flightRecord: true,
        payload: Buffer.from('{"order":17}'),
        contentType: 'application/json',
        waitMs: 5,
        ttlMs: 6_000,
        idempotencyKey: 'o-17',
        collapseKey: '',
        appendTo: 'answer',
        appendEnd: true,
        acceptLevel: AcceptLevel.ACCEPT_LEVEL_REPLICATED,
        replicas: 2,
        waitFor: WaitFor.WAIT_FOR_ACKED,
        notifyUnreadAfterMs: 3_000,
        whenSlow: WhenSlow.WHEN_SLOW_KEEP,
      },
    ]);
  });

  test('names the push that it has replaced', async () => {
    const request = { clientId: 'replacing', payload: 1, collapseKey: 'position' };
    const { body } = await router.post('/v1/push', request);
    expect(body).toMatchObject({ verdict: 'STORED', messageId: '1-0', replacedId: '0-1' });
    expect(router.begun).toMatchObject([{ collapseKey: 'position' }]);
  });

  test('without options has those of an empty gRPC request', async () => {
    await router.post('/v1/push', { clientId: 'a', payloadBase64: '' });
    expect(router.begun).toEqual([{ ...PushRequest.create({ clientId: 'a' }), ttlMs: undefined }]);
  });

  test.each([
    [
      '"payload": {"n": 1.0, "m":12345678901234567890}',
      '{"n": 1.0, "m":12345678901234567890}',
      'application/json',
    ],
    ['"payload":null', 'null', 'application/json'],
    ['"payloadText":"\\u00e9\\ud83d\\ude00"', 'é😀', 'text/plain;charset=utf-8'],
    ['"payloadText":""', '', 'text/plain;charset=utf-8'],
    ['"payloadBase64":"AP8="', '\u0000\u00ff', ''],
    ['"payloadText":"a","contentType":"text/html"', 'a', 'text/html'],
  ])('with %s sends these bytes', async (member, text, contentType) => {
    const { status } = await router.post('/v1/push', `{"clientId":"a",${member}}`);
    expect(status).toBe(200);
    const bytes = member.includes('Base64') ? Buffer.from(text, 'latin1') : Buffer.from(text);
    expect(router.begun).toMatchObject([{ payload: bytes, contentType }]);
  });

  test('of the maximum size passes, in text and in base64', async () => {
    const payloadText = 'x'.repeat(PAYLOAD_BYTES_MAX);
    expect((await router.post('/v1/push', { clientId: 'a', payloadText })).status).toBe(200);
    const payloadBase64 = Buffer.from(payloadText).toString('base64');
    expect((await router.post('/v1/push', { clientId: 'a', payloadBase64 })).status).toBe(200);
    expect(router.begun.map(({ payload }) => payload.length)).toEqual([
      PAYLOAD_BYTES_MAX,
      PAYLOAD_BYTES_MAX,
    ]);
  });
});

const push = (members: string) => `{"clientId":"a","payload":1${members}}`;
test.each<[string, string | Uint8Array, number, string, RegExp]>([
  ['no JSON', '{"clientId"', 400, 'REQUEST_MALFORMED', /not JSON/],
  ['an empty body', '', 400, 'REQUEST_MALFORMED', /not JSON/],
  ['an array', '[]', 400, 'REQUEST_MALFORMED', /JSON object/],
  ['a name twice', push(',"clientId":"b"'), 400, 'REQUEST_MALFORMED', /"clientId" occurs twice/],
  ['an unknown field', push(',"ttl":5'), 400, 'REQUEST_MALFORMED', /"ttl"/],
  ['__proto__', push(',"__proto__":{"a":1}'), 400, 'REQUEST_MALFORMED', /__proto__/],
  ['a wrong type', push(',"ttlMs":"5"'), 400, 'REQUEST_MALFORMED', /^ttlMs: .*number/],
  ['a fraction', push(',"ttlMs":0.5'), 400, 'REQUEST_MALFORMED', /^ttlMs: /],
  ['a negative number', push(',"ttlMs":-1'), 400, 'REQUEST_MALFORMED', /^ttlMs: /],
  ['a long wait', push(',"waitMs":60001'), 400, 'REQUEST_MALFORMED', /^waitMs: .*60000/],
  ['an unknown level', push(',"acceptLevel":"FSYNCED"'), 400, 'REQUEST_MALFORMED', /fsynced/],
  ['null for a field', push(',"waitFor":null'), 400, 'REQUEST_MALFORMED', /^waitFor: /],
  ['no clientId', '{"payload":1}', 400, 'REQUEST_MALFORMED', /^clientId: /],
  ['an empty clientId', '{"clientId":"","payload":1}', 400, 'CLIENT_ID_INVALID', /empty/],
  ['half a character', '{"clientId":"\\ud800","payload":1}', 400, 'CLIENT_ID_INVALID', /UTF-8/],
  [
    'half a character of text',
    '{"clientId":"a","payloadText":"\\udc00"}',
    400,
    'REQUEST_MALFORMED',
    /^payloadText: .*surrogate/,
  ],
  ['no payload', '{"clientId":"a"}', 400, 'REQUEST_MALFORMED', /exactly one/],
  ['two payloads', push(',"payloadText":"b"'), 400, 'REQUEST_MALFORMED', /exactly one/],
  [
    'no base64',
    '{"clientId":"a","payloadBase64":"a"}',
    400,
    'REQUEST_MALFORMED',
    /^payloadBase64: /,
  ],
  ['a long TTL', push(',"ttlMs":1000000000000'), 400, 'TTL_TOO_LONG', /60000/],
  ['both keys', push(',"collapseKey":"a","appendTo":"b"'), 400, 'PUSH_KEY_INVALID', /name one/],
  ['an end of no message', push(',"appendEnd":true'), 400, 'PUSH_KEY_INVALID', /append_to/],
  ['a key that is no text', push(',"collapseKey":7'), 400, 'REQUEST_MALFORMED', /^collapseKey: /],
  [
    'a long key',
    push(`,"idempotencyKey":"${'k'.repeat(129)}"`),
    400,
    'IDEMPOTENCY_KEY_INVALID',
    /129/,
  ],
  [
    'bytes that are not UTF-8',
    Buffer.from('7b2261223a22ff227d', 'hex'),
    400,
    'REQUEST_MALFORMED',
    /UTF-8/,
  ],
  [
    '2 MiB of JSON',
    push(`,"contentType":"${'x'.repeat(2 ** 21)}"`),
    400,
    'REQUEST_MALFORMED',
    /^contentType: /,
  ],
  [
    '2 MiB of payload',
    JSON.stringify({ clientId: 'a', payload: 'x'.repeat(2 ** 21) }),
    413,
    'PAYLOAD_TOO_LARGE',
    /maximum is 1048576/,
  ],
  [
    '7 MiB of JSON',
    JSON.stringify({ clientId: 'a', payload: 'x'.repeat(7 * 2 ** 20) }),
    413,
    'PAYLOAD_TOO_LARGE',
    /body is larger/,
  ],
  ['a client over its rate', '{"clientId":"limited","payload":1}', 429, 'RATE_LIMITED', /too many/],
  ['a failure of the router', '{"clientId":"crash","payload":1}', 500, 'INTERNAL', /log/],
])('%s is rejected with its code', async (_, body, status, code, message) => {
  const response = await router.post('/v1/push', body);
  expect(response.body).toEqual({ error: { code, message: expect.stringMatching(message) } });
  expect(response.status).toBe(status);
  expect(response.headers.get('retry-after')).toBe(status === 429 ? '1' : null);
  expect(response.headers.get('content-type')).toBe('application/json');
  expect((await router.post('/v1/push', push(''))).status).toBe(200);
});

test('presence and disconnect have the same fields as over gRPC', async () => {
  expect((await router.post('/v1/presence', { clientId: 'a' })).body).toEqual({
    connections: [connection('a')],
    complete: true,
  });
  expect((await router.post('/v1/disconnect', { clientId: 'a' })).body).toEqual({
    closed: 1,
    complete: false,
  });
});

test('a user has the answers of its devices', async () => {
  expect((await router.post('/v1/push:user', { user: 'alice', payload: 1 })).body).toEqual({
    counts: { STORED: 1 },
    failed: 1,
    devices: [
      {
        clientId: 'alice/phone',
        verdict: 'STORED',
        messageId: '1-0',
        acceptLevel: 'accepted',
      },
      { clientId: 'alice/tablet', error: { code: 'RATE_LIMITED', message: 'too many' } },
    ],
  });
  const presence = (body: object) => router.post('/v1/presence', body);
  expect((await presence({ user: 'alice' })).body).toEqual({ connections: [], complete: true });
  const both = await presence({ user: 'alice', clientId: 'alice/phone' });
  expect(both.body.error.code).toBe('REQUEST_MALFORMED');
  expect((await presence({ user: '' })).body.error.code).toBe('CLIENT_ID_INVALID');
});

test('other methods, paths, types and versions are rejected with their code, without CORS', async () => {
  const send = async (method: string, path: string, headers: Record<string, string> = {}) => {
    const options = { method, headers: { origin: 'https://a.example', ...headers } };
    const response = await fetch(router.url(path), options);
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
    const text = await response.text();
    const code = text === '' ? '' : JSON.parse(text).error?.code;
    return [response.status, code, response.headers.get('allow')];
  };
  expect(await send('GET', '/v1/push')).toEqual([405, 'METHOD_NOT_ALLOWED', 'POST']);
  expect(await send('HEAD', '/v1/push')).toEqual([405, '', 'POST']);
  expect(await send('OPTIONS', '/v1/push')).toEqual([405, 'METHOD_NOT_ALLOWED', 'POST']);
  expect(await send('DELETE', '/v1/push:stream')).toEqual([405, 'METHOD_NOT_ALLOWED', 'POST']);
  expect(await send('POST', '/v1/openapi.json')).toEqual([405, 'METHOD_NOT_ALLOWED', 'GET, HEAD']);
  expect(await send('HEAD', '/v1/openapi.json')).toEqual([200, '', null]);
  expect(await send('POST', '/v1/nothing')).toEqual([404, 'NOT_FOUND', null]);
  expect(await send('POST', '/v1/push?clientId=a')).toEqual([400, 'REQUEST_MALFORMED', null]);
  expect(await send('POST', '/v1/push')).toEqual([400, 'REQUEST_MALFORMED', null]);
  const encoded = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
  expect(await send('POST', '/v1/push', encoded)).toEqual([400, 'REQUEST_MALFORMED', null]);
  const stream = { 'content-type': 'application/json' };
  expect(await send('POST', '/v1/push:stream', stream)).toEqual([400, 'REQUEST_MALFORMED', null]);
  expect((await router.post('/v1/push%3amany', {})).body.error.message).toMatch(/^clientIds: /);
});

test('tokens and scopes are those of gRPC, and are checked before the body is read', async () => {
  await router.stop();
  router = await TestRouter.start(true);
  const body = { clientId: 'a', payload: 1 };
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
  const none = await router.post('/v1/push', body);
  expect([none.status, none.body.error.code]).toEqual([401, 'UNAUTHENTICATED']);
  expect(none.headers.get('www-authenticate')).toBe('Bearer');
  const wrong = await router.post('/v1/push', 'no JSON', bearer('wrong-token-0123456789'));
  expect([wrong.status, wrong.body.error.code]).toEqual([401, 'UNAUTHENTICATED']);
  const reader = await router.post('/v1/push', body, bearer(READ_TOKEN));
  expect([reader.status, reader.body.error.code]).toEqual([403, 'PERMISSION_DENIED']);
  expect((await router.post('/v1/presence', { clientId: 'a' }, bearer(READ_TOKEN))).status).toBe(
    200,
  );
  expect((await router.post('/v1/push', body, bearer(PUSH_TOKEN))).status).toBe(200);
});

test('the OpenAPI document names every route and resolves every reference', async () => {
  const response = await fetch(router.url('/v1/openapi.json'));
  const document = (await response.json()) as {
    openapi: string;
    paths: Record<string, { post: { operationId: string; summary: string } }>;
    components: { schemas: Record<string, object> };
  };
  expect(document.openapi).toBe('3.1.0');
  expect(
    Object.entries(document.paths).map(([path, { post }]) => [path, post.operationId]),
  ).toEqual([
    ['/v1/push', 'push'],
    ['/v1/push:many', 'pushMany'],
    ['/v1/push:user', 'pushUser'],
    ['/v1/broadcast', 'broadcast'],
    ['/v1/presence', 'getPresence'],
    ['/v1/disconnect', 'disconnect'],
    ['/v1/push:group', 'pushGroup'],
    ['/v1/groups:join', 'joinGroup'],
    ['/v1/groups:leave', 'leaveGroup'],
    ['/v1/groups:delete', 'deleteGroup'],
    ['/v1/groups:members', 'listMembers'],
    ['/v1/groups:list', 'listGroups'],
    ['/v1/push:stream', 'pushStream'],
  ]);
  const references = JSON.stringify(document).matchAll(
    /"\$ref":"#\/components\/schemas\/([^"]*)"/g,
  );
  const referenced = new Set(Array.from(references, ([, name]) => name));
  expect(referenced).toEqual(new Set(Object.keys(document.components.schemas)));
  for (const { post } of Object.values(document.paths)) expect(post.summary).toMatch(/\.$/);
});

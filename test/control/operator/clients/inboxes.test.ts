/** Inboxes, payloads and test messages of the operator API: who may do what, and what is logged. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { hashToken } from '../../../../common/auth/tokens.js';
import type { QueryResult } from '../../../../common/cluster/shard-query.js';
import { Access } from '../../../../control/operator/access.js';
import { Inboxes } from '../../../../control/operator/clients/inboxes.js';
import { FakeOperations, OPERATOR, VIEWER } from '../fake-operations.js';
import { ask, type OperatedControl, startOperatedControl } from '../operated-control.js';

const ID = '1700000000000-1';
const READER = 'reader-token-012345';
const token = (name: string, text: string) => ({ name, sha256: hashToken(text) });
const guarded = (readers: readonly string[]) =>
  new Access([token('ada', OPERATOR)], [token('vic', VIEWER), token('rita', READER)], readers);
const bearer = (text: string) => ({ authorization: `Bearer ${text}` });

let control: OperatedControl | undefined;
afterEach(() => control?.stop());

const payloadOf = (url: string, headers = {}) =>
  ask(`${url}/v1/payload`, { clientId: 'alice', messageId: ID }, headers);

test('a payload takes a permission of its own', async () => {
  control = await startOperatedControl(guarded(['rita']));
  const { url } = control;
  expect(await payloadOf(url)).toMatchObject({ status: 401 });
  for (const denied of [OPERATOR, VIEWER]) {
    expect(await payloadOf(url, bearer(denied))).toMatchObject({
      status: 403,
      body: { error: { message: expect.stringContaining('LONGLINE_CONTROL_PAYLOAD_READERS') } },
    });
  }
  // Permitted; Redis is away.
  expect(await payloadOf(url, bearer(READER))).toMatchObject({ status: 503 });
  const session = async (text: string) =>
    (await ask(`${url}/session`, undefined, bearer(text))).body;
  expect(await session(READER)).toMatchObject({ mayWrite: false, mayReadPayloads: true });
  expect(await session(OPERATOR)).toMatchObject({ mayWrite: true, mayReadPayloads: false });
  expect(control.operations.calls).toEqual([]);
});

test.each([
  [[], 403],
  [['local'], 503],
])('without tokens, %j may read payloads: %i', async (readers, status) => {
  control = await startOperatedControl(new Access([], [], readers));
  expect(await payloadOf(control.url)).toMatchObject({ status });
});

test('a viewer pushes nothing, and lists of inboxes are for everyone', async () => {
  control = await startOperatedControl(guarded([]));
  const push = { clientId: 'alice', payloadText: 'x' };
  expect(await ask(`${control.url}/v1/push`, push, bearer(VIEWER))).toMatchObject({ status: 403 });
  for (const path of ['inboxes/alice', 'client-events/alice', 'client-pushes/alice']) {
    expect(await ask(`${control.url}/v1/${path}`, undefined, bearer(VIEWER))).toMatchObject({
      body: { error: { code: 'REDIS_UNAVAILABLE' } },
    });
  }
});

test.each([
  ['inboxes/%2F', 'CLIENT_ID_INVALID'],
  ['inboxes/alice?limit=0', 'REQUEST_MALFORMED'],
  ['inboxes/alice?after=x', 'REQUEST_MALFORMED'],
  ['client-events/', 'CLIENT_ID_INVALID'],
  ['client-events/alice?after=x', 'REQUEST_MALFORMED'],
  ['client-pushes/%2F', 'CLIENT_ID_INVALID'],
])('GET /v1/%s is rejected with %s', async (path, code) => {
  control = await startOperatedControl();
  expect(await ask(`${control.url}/v1/${path}`)).toMatchObject({ body: { error: { code } } });
});

describe('with a Redis and edges that answer', () => {
  let operations: FakeOperations;
  let inboxes: Inboxes;
  let reply: unknown;
  let result: QueryResult;
  const queried: unknown[] = [];
  const payloads: string[] = [];

  beforeEach(() => {
    operations = new FakeOperations();
    queried.length = 0;
    payloads.length = 0;
    inboxes = new Inboxes(
      { execute: async () => ({ type: 'done', reply }) } as never,
      {
        channelOf: () => 'll:{7}',
        query: async (clientId: string, body: { value: { payload: Buffer } }) => {
          queried.push([clientId, body]);
          payloads.push(body.value.payload.toString());
          return result;
        },
      } as never,
      operations,
    );
  });

  test('who reads a payload is logged, with the reason', async () => {
    const read = { clientId: 'alice', messageId: ID, reason: 'ticket 7' };
    reply = [3, Buffer.from([0xff, 0, 1]), Buffer.from('image/png')];
    expect(await inboxes.payload(read, 'rita')).toEqual({
      messageId: ID,
      contentType: 'image/png',
      bytes: 3,
      text: null,
      base64: '/wAB',
    });
    const logged = ['read-payload', 'alice', { actor: 'rita', reason: 'ticket 7' }, ID];
    expect(operations.calls).toEqual([logged]);
    reply = [];
    expect(await inboxes.payload(read, 'rita')).toMatchObject({ code: 'NOT_FOUND' });
    expect(await inboxes.payload({ ...read, messageId: 'x' }, 'rita')).toMatchObject({
      code: 'REQUEST_MALFORMED',
    });
    expect(operations.calls).toEqual([logged]);
  });

  test.each([
    [['absent', 'written'], true, 'WRITTEN'],
    [['absent'], true, 'OFFLINE'],
    [['dropped'], true, 'DROPPED'],
    [['absent'], false, 'UNKNOWN'],
  ])(
    'a test message to edges that answer %j has its verdict logged',
    async (cases, complete, verdict) => {
      const bodies = cases.map(($case) => ({ $case, value: {} })) as never;
      result = { bodies, complete, haveAllReplied: complete } as never;
      const body = { clientId: 'alice', payloadText: 'hé', contentType: '', reason: 'try' };
      expect(await inboxes.push(body, 'ada')).toMatchObject({ verdict });
      expect(queried).toMatchObject([['alice', { $case: 'push', value: { ttlMs: 0 } }]]);
      expect(payloads).toEqual(['hé']);
      const by = { actor: 'ada', reason: 'try' };
      expect(operations.calls).toEqual([['push', 'alice', by, `3 bytes: ${verdict}`]]);
    },
  );

  test('a control that does not lead pushes and reads nothing', async () => {
    operations.rejected = { code: 'NOT_LEADER', message: 'another one leads' };
    const common = { clientId: 'alice', reason: '' };
    const pushed = await inboxes.push({ ...common, payloadText: '', contentType: '' }, 'ada');
    const read = await inboxes.payload({ ...common, messageId: ID }, 'ada');
    expect([pushed, read]).toMatchObject([{ code: 'NOT_LEADER' }, { code: 'NOT_LEADER' }]);
    expect(queried).toEqual([]);
  });
});

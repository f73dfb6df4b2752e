/** The file of webhooks, and the form and signature of their requests. Pure. */
import { expect, test } from '@jest/globals';
import {
  signatureOf,
  toCloudEvent,
  webhookHeaders,
} from '../../../../router/events/webhooks/cloud-events.js';
import { readWebhooks } from '../../../../router/events/webhooks/settings.js';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const BYTES = Buffer.from(SECRET.slice('whsec_'.length), 'base64');

const event = (ms: number) => ({
  id: `3-${ms}-0`,
  type: 'client.disconnected',
  clientId: 'alice/phone',
  atMs: ms,
  fields: new Map([
    ['t', 'client.disconnected'],
    ['c', 'alice/phone'],
    ['e', 'edge-1'],
    ['r', 'peer'],
    ['d', '1500'],
  ]),
  lost: 0,
});

test('the signature is that of the test vector of Standard Webhooks', () => {
  const id = 'msg_p5jXN8AQM9LWM0D4loKWxJek';
  expect(signatureOf(id, 1_614_265_330, '{"test": 2432232314}', BYTES)).toBe(
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  );
});

test('a batch has the same id when it is sent again, and another batch another one', () => {
  const idOf = (...events: ReturnType<typeof event>[]) =>
    webhookHeaders(events, '', BYTES, 1)['webhook-id'];
  expect(idOf(event(1), event(2))).toBe(idOf(event(1), event(2)));
  expect(idOf(event(1), event(2))).not.toBe(idOf(event(1)));
});

test('an event is a CloudEvent', () => {
  expect(toCloudEvent(event(1_700_000_000_000), '/longline/')).toEqual({
    specversion: '1.0',
    id: '3-1700000000000-0',
    source: '/longline/',
    type: 'io.longline.client.disconnected',
    subject: 'alice/phone',
    time: '2023-11-14T22:13:20.000Z',
    datacontenttype: 'application/json',
    data: { clientId: 'alice/phone', edgeId: 'edge-1', reason: 'peer', durationMs: 1500 },
  });
});

test('the fields of an event are members of its data, numbers as numbers', () => {
  const fields = new Map(
    Object.entries({ t: 'x', c: 'alice', r: 'slow', n: '17', g: 'room', f: 'e-1' }),
  );
  const { data } = toCloudEvent({ ...event(1), clientId: 'alice', fields }, '/longline/');
  expect(data).toEqual({
    clientId: 'alice',
    reason: 'slow',
    count: 17,
    group: 'room',
    fromEdgeId: 'e-1',
  });
});

test('a file lists webhooks', () => {
  const [webhook] = readWebhooks(
    JSON.stringify([
      { name: 'crm', url: 'https://crm.example/hook', secret: SECRET, types: ['push.unread'] },
    ]),
  );
  expect(webhook).toMatchObject({ name: 'crm', secret: BYTES });
  expect(webhook!.isSelected(event(1))).toBe(false);
  expect(readWebhooks('[]')).toEqual([]);
});

test.each([
  ['', 'it is not JSON'],
  ['{}', 'the file: '],
  ['[{}]', '0.name: '],
  [[{ name: 'a b' }], '0.name: expected 1 to 48'],
  [[{ url: 'ftp://x/' }], '0.url: expected an http:// or https:// URL'],
  [[{ url: 'https://u:p@x/' }], '0.url: expected an http:// or https:// URL'],
  [[{ secret: 'whsec_AAAA' }], '0.secret: expected whsec_ and 24 to 64 bytes'],
  [[{ secret: 'geheim' }], '0.secret: expected whsec_ and 24 to 64 bytes'],
  [[{ type: 'push.unread' }], '0: '],
  [[{ selector: 'a=(' }], 'crm: '],
  [[{}, {}], 'two webhooks have the same name'],
  [Array.from({ length: 17 }, (_, i) => ({ name: `n${i}` })), 'expected at most 16'],
])('the file %j is rejected without its secret', (file, problem) => {
  const valid = { name: 'crm', url: 'https://crm.example/hook', secret: SECRET };
  const text =
    typeof file === 'string' ? file : JSON.stringify(file.map((each) => ({ ...valid, ...each })));
  const read = () => readWebhooks(text);
  expect(read).toThrow(problem);
  expect(read).not.toThrow(/MfKQ9r8G|geheim/);
});

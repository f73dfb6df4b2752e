import { beforeEach, expect, test } from '@jest/globals';
import type { Authenticator, Verified } from '../../../common/auth/authenticator.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import { Metrics } from '../../../common/process/metrics.js';
import { connectionOf, slotOf } from '../../../common/transport/transport.js';
import { UNTIL_CLOSE } from '../../../common/wire/body-framing.js';
import { NdjsonProtocol } from '../../../edge/protocol/http/ndjson.js';
import { SseProtocol } from '../../../edge/protocol/http/sse.js';
import { ConnectionLabels } from '../../../edge/session/connection-labels.js';
import { Connections } from '../../../edge/session/connections.js';
import { TokenExpiry } from '../../../edge/session/token-expiry.js';

const NOW_MS = Math.ceil(Date.now() / 1_000) * 1_000;
const ISSUED_MS = NOW_MS - 60_000;
const SKEW_MS = 5_000;
const [ALICE, BOB, CAROL] = [1, 2, 3].map((slot) => connectionOf(slot, 1)) as [
  number,
  number,
  number,
];

const sse = new SseProtocol(UNTIL_CLOSE);
const ndjson = new NdjsonProtocol(UNTIL_CLOSE);
let table: Connections;
let written: string[];
let ended: number[];
/** ClientIds whose tokens are revoked, and why connections ended. */
let revoked: string[];
let reasons: string[];
/** Result of the next check of a token. */
let next: Verified | Rejection | Promise<Verified | Rejection>;
let labels: ConnectionLabels;
const claims = new Map<number, string>();
const groups = {
  claimsOf: (connection: number) => claims.get(connection) ?? '',
  setClaims: (connection: number, own: string) => void claims.set(connection, own),
};
let tokenExpiry: TokenExpiry;
const transport = {
  write(_: number, bytes: Uint8Array) {
    written.push(String(bytes));
    return 'accepted' as const;
  },
};
const authenticator: Authenticator = {
  skewMs: SKEW_MS,
  check: () => next,
  isKnown: () => false,
  issueTicket: (clientId, { expiresAtMs, issuedAtMs, labels, groups }) =>
    `${clientId}@${expiresAtMs} ${issuedAtMs} ${labels}${groups}`,
};

beforeEach(() => {
  table = new Connections(4096);
  labels = new ConnectionLabels(10, [], new Metrics());
  written = [];
  ended = [];
  revoked = [];
  reasons = [];
  tokenExpiry = newTokenExpiry();
});

function newTokenExpiry(): TokenExpiry {
  return new TokenExpiry({
    table,
    labels,
    groups,
    transport,
    authenticator,
    isRevoked: (clientId) => revoked.includes(clientId),
    end: (connection, reason) => {
      ended.push(connection);
      reasons.push(reason);
      table.remove(connection);
    },
  });
}

function add(
  connection: number,
  expiresAtMs: number,
  protocol: SseProtocol | NdjsonProtocol = sse,
): void {
  table.add(connection, `client-${slotOf(connection)}`, 7, protocol, NOW_MS);
  tokenExpiry.register(connection, { expiresAtMs, issuedAtMs: ISSUED_MS, groups: '' });
  table.setState(connection, 'live');
}

test('a connection ends when its token has ended and the skew has passed', () => {
  add(ALICE, NOW_MS + 70_000);
  tokenExpiry.sweep(NOW_MS + 74_999);
  expect(ended).toEqual([]);
  tokenExpiry.sweep(NOW_MS + 75_000);
  expect(ended).toEqual([ALICE]);
});

test('expiry is rounded up to a second', () => {
  add(ALICE, NOW_MS + 70_001);
  tokenExpiry.sweep(NOW_MS + 75_999);
  expect(ended).toEqual([]);
  tokenExpiry.sweep(NOW_MS + 76_000);
  expect(ended).toEqual([ALICE]);
});

test.each([Number.POSITIVE_INFINITY, 2 ** 32 * 1_000, 2 ** 48])(
  'a connection that expires at %d never ends',
  (expiresAtMs) => {
    add(ALICE, expiresAtMs);
    tokenExpiry.sweep(2 ** 47);
    expect(ended).toEqual([]);
    expect(table.expiresAtMs(ALICE)).toBe(Number.POSITIVE_INFINITY);
  },
);

test('a device is warned once, a minute before', () => {
  add(ALICE, NOW_MS + 130_500);
  add(BOB, NOW_MS + 130_000, ndjson);
  add(CAROL, Number.POSITIVE_INFINITY);
  for (let ms = 0; ms <= 75_000; ms += 1_003) tokenExpiry.sweep(NOW_MS + ms);
  expect(written.sort()).toEqual([
    expect.stringMatching(/^event: expiring\ndata: \{"inMs":(59|60)\d{3}\}\n\n$/),
    expect.stringMatching(/^\{"type":"expiring","inMs":(59|60)\d{3}\}\n$/),
  ]);
  expect(ended).toEqual([]);
});

test('after the clock was set back, devices are warned a minute before the end', () => {
  add(ALICE, NOW_MS + 130_000);
  tokenExpiry.sweep(NOW_MS);
  for (let ms = -3_600_000; ms <= -3_590_000; ms += 1_003) tokenExpiry.sweep(NOW_MS + ms);
  expect(written).toEqual([]);
  for (let ms = 60_000; ms <= 75_000; ms += 1_003) tokenExpiry.sweep(NOW_MS + ms);
  expect(written).toEqual([expect.stringMatching(/"inMs":(59|60)\d{3}/)]);
});

test('a connection that is not accepted yet does not expire', () => {
  add(ALICE, NOW_MS);
  table.setState(ALICE, 'opening');
  tokenExpiry.sweep(NOW_MS + 10_000);
  expect(ended).toEqual([]);
});

test('a newer token extends the connection, and results in a newer ticket', async () => {
  add(ALICE, NOW_MS + 10_000, ndjson);
  labels.set(ALICE, 'app=ios', 'version=5');
  next = Promise.resolve({
    expiresAtMs: NOW_MS + 90_000,
    issuedAtMs: NOW_MS,
    labels: 'app=web',
    groups: 'room',
  });
  tokenExpiry.renew(ALICE, 'token');
  await next;
  tokenExpiry.sweep(NOW_MS + 90_000);
  expect(ended).toEqual([]);
  expect(tokenExpiry.ticketOf(ALICE)).toBe(`client-1@${NOW_MS + 90_000} ${NOW_MS} app=webroom`);
  expect([labels.claimsOf(ALICE), labels.queryOf(ALICE)]).toEqual(['app=web', 'version=5']);
});

test('a connection whose labels are unknown gets no ticket, which would have to repeat them', () => {
  labels = new ConnectionLabels(1, [], new Metrics());
  tokenExpiry = newTokenExpiry();
  labels.set(BOB, 'app=ios', '');
  add(ALICE, NOW_MS + 10_000);
  labels.set(ALICE, 'app=web', '');
  expect(tokenExpiry.ticketOf(ALICE)).toBeUndefined();
});

test('a newer token that is revoked ends the connection', () => {
  add(ALICE, NOW_MS + 10_000);
  next = { expiresAtMs: NOW_MS + 90_000, issuedAtMs: NOW_MS, labels: '', groups: '' };
  revoked = ['client-1'];
  tokenExpiry.renew(ALICE, 'token');
  expect([ended, reasons]).toEqual([[ALICE], ['revoked']]);
});

test('an invalid newer token ends the connection', () => {
  add(ALICE, NOW_MS + 10_000);
  next = rejection('UNAUTHENTICATED', 'no');
  tokenExpiry.renew(ALICE, 'token');
  expect(ended).toEqual([ALICE]);
});

test('a second token during the verification of the first ends the connection', async () => {
  add(ALICE, NOW_MS + 10_000);
  next = Promise.resolve({
    expiresAtMs: NOW_MS + 90_000,
    issuedAtMs: NOW_MS,
    labels: '',
    groups: '',
  });
  tokenExpiry.renew(ALICE, 'token');
  tokenExpiry.renew(ALICE, 'token');
  expect(ended).toEqual([ALICE]);
  await next;
  // Its slot may belong to another client by now.
  expect(written).toEqual([]);
});

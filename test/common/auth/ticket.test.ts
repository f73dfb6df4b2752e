import { createHmac } from 'node:crypto';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { hasTicketFormat, Tickets } from '../../../common/auth/ticket.js';
import { tokenOf } from '../../support/tokens.js';

const SECRET = 'the-secret-of-this-cluster-is-this';
const NOW_MS = 1_795_000_000_000;
const tickets = new Tickets([SECRET], 30_000);

const clientIds = fc.string({ unit: 'binary', minLength: 1, maxLength: 64 });
const labelTexts = fc
  .array(fc.stringMatching(/^[a-z]{1,9}=[a-z0-9.]{0,9}$/), { minLength: 1, maxLength: 24 })
  .map((labels) => labels.join(','));
const expiries = fc.integer({ min: NOW_MS, max: 2 ** 48 - 1 });

test('a ticket is valid for its client until its expiry plus the skew', () => {
  fc.assert(
    fc.property(clientIds, expiries, (clientId, expiresAtMs) => {
      const ticket = tickets.issue(clientId, expiresAtMs);
      expect(ticket).toMatch(/^[\w-]{40}$/);
      expect(tickets.check(ticket, clientId, NOW_MS)).toEqual({
        expiresAtMs,
        issuedAtMs: 0,
        labels: '',
        groups: '',
      });
      expect(tickets.check(ticket, clientId, expiresAtMs + 29_999)).toEqual({
        expiresAtMs,
        issuedAtMs: 0,
        labels: '',
        groups: '',
      });
      expect(tickets.check(ticket, clientId, expiresAtMs + 30_000)).toBe('expired');
    }),
  );
});

test('a ticket has the second in which the token was issued', () => {
  fc.assert(
    fc.property(clientIds, fc.nat(NOW_MS), (clientId, issuedAtMs) => {
      const ticket = tickets.issue(clientId, NOW_MS, '', '', issuedAtMs);
      const second = Math.floor(issuedAtMs / 1_000) * 1_000;
      expect(tickets.check(ticket, clientId, NOW_MS)).toMatchObject({ issuedAtMs: second });
    }),
  );
  const never = tickets.issue('alice', NOW_MS, '', '', Number.POSITIVE_INFINITY);
  const checked = tickets.check(never, 'alice', NOW_MS);
  expect(checked).toMatchObject({ issuedAtMs: (2 ** 40 - 1) * 1_000 });
});

test('a ticket of an earlier version is accepted, and does not say when its token was issued', () => {
  const signed = Buffer.alloc(7);
  signed[0] = 1;
  signed.writeUIntBE(NOW_MS, 1, 6);
  const hmac = createHmac('sha256', SECRET).update('longline ticket').update(signed);
  const mac = hmac.update('alice').digest().subarray(0, 17);
  const ticket = Buffer.concat([signed, mac]).toString('base64url');
  const good = { expiresAtMs: NOW_MS, issuedAtMs: 0, labels: '', groups: '' };
  expect(tickets.check(ticket, 'alice', NOW_MS)).toEqual(good);
  expect(tickets.check(ticket, 'bob', NOW_MS)).toBe('forged');
  const extended = Buffer.concat([signed, mac, Buffer.alloc(3)]).toString('base64url');
  expect(tickets.check(extended, 'alice', NOW_MS)).toBe('forged');
});

test('a ticket has the labels of the token, and only with them another length', () => {
  fc.assert(
    fc.property(clientIds, expiries, labelTexts, (clientId, expiresAtMs, labels) => {
      const ticket = tickets.issue(clientId, expiresAtMs, labels);
      expect(ticket).toMatch(/^(?:[\w-]{4}){11,}$/);
      expect(hasTicketFormat(ticket)).toBe(true);
      expect(tickets.check(ticket, clientId, NOW_MS)).toEqual({
        expiresAtMs,
        issuedAtMs: 0,
        labels,
        groups: '',
      });
      const without = tickets.issue(clientId, expiresAtMs);
      expect(tickets.check(without + ticket.slice(40), clientId, NOW_MS)).toBe('forged');
      expect(tickets.check(ticket.slice(0, 40), clientId, NOW_MS)).toBe('forged');
      const other = ticket.slice(0, -4) + tickets.issue(clientId, expiresAtMs, 'x=y').slice(-4);
      if (other !== ticket) expect(tickets.check(other, clientId, NOW_MS)).toBe('forged');
    }),
  );
});

test('a ticket with the longest labels is still one', () => {
  const labels = `app=${'x'.repeat(508)}`;
  const ticket = tickets.issue('alice', NOW_MS, labels);
  expect(tickets.check(ticket, 'alice', NOW_MS)).toEqual({
    expiresAtMs: NOW_MS,
    issuedAtMs: 0,
    labels,
    groups: '',
  });
});

test('a ticket has the groups of the token, with or without labels', () => {
  const names = fc.stringMatching(/^[a-z ü*]{0,30}[a-zü*]$/);
  const groupTexts = fc.array(names, { minLength: 1, maxLength: 9 }).map((all) => all.join('\n'));
  const anyLabels = fc.oneof(fc.constant(''), labelTexts);
  fc.assert(
    fc.property(clientIds, expiries, anyLabels, groupTexts, (clientId, expiresAtMs, ...texts) => {
      const [labels, groups] = texts;
      const ticket = tickets.issue(clientId, expiresAtMs, labels, groups);
      expect(hasTicketFormat(ticket)).toBe(true);
      expect(tickets.check(ticket, clientId, NOW_MS)).toEqual({
        expiresAtMs,
        issuedAtMs: 0,
        labels,
        groups,
      });
      expect(tickets.check(ticket, `x${clientId}`, NOW_MS)).toBe('forged');
    }),
  );
});

test('a ticket with the longest labels and groups is still one', () => {
  const [labels, groups] = [`app=${'x'.repeat(508)}`, 'g'.repeat(1_024)];
  const ticket = tickets.issue('alice', NOW_MS, labels, groups);
  expect(tickets.check(ticket, 'alice', NOW_MS)).toEqual({
    expiresAtMs: NOW_MS,
    issuedAtMs: 0,
    labels,
    groups,
  });
});

test('labels do not run into the clientId', () => {
  const ticket = tickets.issue('b=c', NOW_MS, 'a=b');
  expect(tickets.check(ticket, 'a=bb=c', NOW_MS)).toBe('forged');
});

test.each([
  ['', ''],
  ['app=ios', ''],
  ['app=ios', 'room'],
])('a ticket with labels "%s", groups "%s" and any flipped bit is rejected', (labels, groups) => {
  const issued = tickets.issue('alice', NOW_MS + 1_000, labels, groups);
  const ticket = Buffer.from(issued, 'base64url');
  for (let bit = 0; bit < ticket.length * 8; bit++) {
    const forged = Buffer.from(ticket);
    forged[bit >> 3]! ^= 1 << (bit & 7);
    expect(tickets.check(forged.toString('base64url'), 'alice', NOW_MS)).toBe('forged');
  }
});

test('a ticket with any other character, one more or one less is rejected', () => {
  fc.assert(
    fc.property(fc.nat(39), fc.stringMatching(/^[\w-]$/), (at, character) => {
      const ticket = tickets.issue('alice', NOW_MS);
      fc.pre(ticket[at] !== character);
      const forged = ticket.slice(0, at) + character + ticket.slice(at + 1);
      expect(tickets.check(forged, 'alice', NOW_MS)).toBe('forged');
    }),
  );
  const ticket = tickets.issue('alice', NOW_MS);
  for (const forged of ['', ticket.slice(1), `${ticket}A`, `${ticket}=`, `${ticket}\n`]) {
    expect(tickets.check(forged, 'alice', NOW_MS)).toBe('forged');
  }
});

test('a ticket of another client is rejected', () => {
  fc.assert(
    fc.property(clientIds, clientIds, (clientId, other) => {
      fc.pre(clientId !== other);
      expect(tickets.check(tickets.issue(clientId, NOW_MS), other, NOW_MS)).toBe('forged');
    }),
  );
});

test('the first secret signs, all verify, and a removed one does not', () => {
  const ticket = tickets.issue('alice', NOW_MS);
  const next = new Tickets(['the-secret-that-comes-after-that-one', SECRET], 30_000);
  expect(next.check(ticket, 'alice', NOW_MS)).toEqual({
    expiresAtMs: NOW_MS,
    issuedAtMs: 0,
    labels: '',
    groups: '',
  });
  const renewed = next.issue('alice', NOW_MS);
  expect(tickets.check(renewed, 'alice', NOW_MS)).toBe('forged');
  const last = new Tickets(['the-secret-that-comes-after-that-one'], 30_000);
  expect(last.check(renewed, 'alice', NOW_MS)).toEqual({
    expiresAtMs: NOW_MS,
    issuedAtMs: 0,
    labels: '',
    groups: '',
  });
  expect(last.check(ticket, 'alice', NOW_MS)).toBe('forged');
});

test('a ticket differs from a token, and its expiry is capped at 48 bits', () => {
  expect(hasTicketFormat(tickets.issue('alice', NOW_MS))).toBe(true);
  expect(hasTicketFormat(tokenOf('alice'))).toBe(false);
  const ticket = tickets.issue('alice', Number.MAX_SAFE_INTEGER);
  expect(tickets.check(ticket, 'alice', NOW_MS)).toEqual({
    expiresAtMs: 2 ** 48 - 1,
    issuedAtMs: 0,
    labels: '',
    groups: '',
  });
});

import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { hasTicketFormat, Tickets } from '../../../common/auth/ticket.js';
import { tokenOf } from '../../support/tokens.js';

const SECRET = 'the-secret-of-this-cluster-is-this';
const NOW_MS = 1_795_000_000_000;
const tickets = new Tickets([SECRET], 30_000);

const clientIds = fc.string({ unit: 'binary', minLength: 1, maxLength: 64 });
const expiries = fc.integer({ min: NOW_MS, max: 2 ** 48 - 1 });

test('a ticket is valid for its client until its expiry plus the skew', () => {
  fc.assert(
    fc.property(clientIds, expiries, (clientId, expiresAtMs) => {
      const ticket = tickets.issue(clientId, expiresAtMs);
      expect(ticket).toMatch(/^[\w-]{32}$/);
      expect(tickets.check(ticket, clientId, NOW_MS)).toEqual({ expiresAtMs });
      expect(tickets.check(ticket, clientId, expiresAtMs + 29_999)).toEqual({ expiresAtMs });
      expect(tickets.check(ticket, clientId, expiresAtMs + 30_000)).toBe('expired');
    }),
  );
});

test('a ticket with any flipped bit is rejected', () => {
  const ticket = Buffer.from(tickets.issue('alice', NOW_MS + 1_000), 'base64url');
  for (let bit = 0; bit < ticket.length * 8; bit++) {
    const forged = Buffer.from(ticket);
    forged[bit >> 3]! ^= 1 << (bit & 7);
    expect(tickets.check(forged.toString('base64url'), 'alice', NOW_MS)).toBe('forged');
  }
});

test('a ticket with any other character, one more or one less is rejected', () => {
  fc.assert(
    fc.property(fc.nat(31), fc.stringMatching(/^[\w-]$/), (at, character) => {
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
  expect(next.check(ticket, 'alice', NOW_MS)).toEqual({ expiresAtMs: NOW_MS });
  const renewed = next.issue('alice', NOW_MS);
  expect(tickets.check(renewed, 'alice', NOW_MS)).toBe('forged');
  const last = new Tickets(['the-secret-that-comes-after-that-one'], 30_000);
  expect(last.check(renewed, 'alice', NOW_MS)).toEqual({ expiresAtMs: NOW_MS });
  expect(last.check(ticket, 'alice', NOW_MS)).toBe('forged');
});

test('a ticket differs from a token, and its expiry is capped at 48 bits', () => {
  expect(hasTicketFormat(tickets.issue('alice', NOW_MS))).toBe(true);
  expect(hasTicketFormat(tokenOf('alice'))).toBe(false);
  const ticket = tickets.issue('alice', Number.MAX_SAFE_INTEGER);
  expect(tickets.check(ticket, 'alice', NOW_MS)).toEqual({ expiresAtMs: 2 ** 48 - 1 });
});

import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ClientRates } from '../../../router/push/client-rates.js';

test('each client has its own bound on pushes a second', () => {
  const rates = new ClientRates(3);
  const rejections = (clientId: string, nowMs: number) =>
    Array.from({ length: 5 }, () => rates.reject(clientId, nowMs)).filter(Boolean).length;
  expect(rejections('alice', 10)).toBe(2);
  expect(rejections('bob', 20)).toBe(2);
  expect(rates.reject('alice', 10)).toMatchObject({ code: 'RATE_LIMITED' });
  // A third of a second later there is one more.
  expect(rejections('alice', 343)).toBe(4);
  expect(rejections('alice', 2_000)).toBe(2);
});

test('over any time a client gets at most the bound per second and one second’s worth', () => {
  const gaps = fc.array(fc.nat(1_500), { maxLength: 200 });
  fc.assert(
    fc.property(gaps, (gapsMs) => {
      const rates = new ClientRates(5);
      let nowMs = 0;
      const acceptedAtMs: number[] = [];
      for (const gapMs of gapsMs) {
        nowMs += gapMs;
        for (let i = 0; i < 3; i++) {
          if (rates.reject('alice', nowMs) === undefined) acceptedAtMs.push(nowMs);
        }
      }
      for (const fromMs of acceptedAtMs) {
        const within = acceptedAtMs.filter((atMs) => atMs >= fromMs && atMs <= fromMs + 2_000);
        expect(within.length).toBeLessThanOrEqual(5 + 2 * 5 + 1);
      }
    }),
  );
});

import { expect, test } from '@jest/globals';
import { ClientRates } from '../../../router/push/client-rates.js';

test('a client gets so many pushes a second, whatever others get', () => {
  const rates = new ClientRates(3);
  const refusals = (clientId: string, nowMs: number) =>
    Array.from({ length: 5 }, () => rates.refuse(clientId, nowMs)).filter(Boolean).length;
  expect(refusals('alice', 10)).toBe(2);
  expect(refusals('bob', 20)).toBe(2);
  expect(rates.refuse('alice', 1_009)).toMatchObject({ code: 'RATE_LIMITED' });
  expect(refusals('alice', 1_010)).toBe(2);
});

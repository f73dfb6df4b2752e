import { expect, test } from '@jest/globals';
import { ClientRates } from '../../../router/push/client-rates.js';

test('a client gets so many pushes a second, whatever others get', () => {
  const rates = new ClientRates(3);
  const rejections = (clientId: string, nowMs: number) =>
    Array.from({ length: 5 }, () => rates.reject(clientId, nowMs)).filter(Boolean).length;
  expect(rejections('alice', 10)).toBe(2);
  expect(rejections('bob', 20)).toBe(2);
  expect(rates.reject('alice', 1_009)).toMatchObject({ code: 'RATE_LIMITED' });
  expect(rejections('alice', 1_010)).toBe(2);
});

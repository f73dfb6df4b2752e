import { expect, test } from '@jest/globals';
import { judgeClocks } from '../../../cli/doctor/clocks.js';

const clock = (process: string, offsetMs: number, errorMs = 1) => ({ process, offsetMs, errorMs });

test('clocks that agree within the error are fine', () => {
  expect(judgeClocks([clock('this machine', 3), clock('edge-1', -4_990, 200)])).toEqual({
    what: 'clocks',
    grade: 'ok',
    value: '2 within 4.99 s of that of Redis',
    advice: '',
  });
});

test('names the processes whose clock is wrong', () => {
  const found = judgeClocks([
    clock('this machine', 3),
    clock('edge-1', -90_000),
    clock('router-1', 3_600_000),
  ]);
  expect(found).toMatchObject({
    grade: 'warn',
    value: 'Redis is 90 s behind edge-1, Redis is 3600 s ahead of router-1',
    advice: expect.stringContaining('synchronise these machines'),
  });
});

test('suspects Redis where all differ from it, and names few', () => {
  const found = judgeClocks(Array.from({ length: 7 }, (_, i) => clock(`edge-${i}`, 60_000)));
  expect(found.value).toMatch(/edge-4, 2 more$/);
  expect(found.advice).toContain('its clock is probably wrong');
});

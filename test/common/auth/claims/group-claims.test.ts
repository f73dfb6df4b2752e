import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readGroupsClaim, rejectClaim } from '../../../../common/auth/claims/group-claims.js';

describe('the claim of groups', () => {
  test.each([
    [undefined, ''],
    [null, ''],
    ['', undefined],
    ['room', 'room'],
    [['room', 'team-*', 'room'], 'room\nteam-*'],
    [[], ''],
    [['*'], '*'],
    [[''], undefined],
    [['a\nb'], undefined],
    [['\ud800'], undefined],
    [[1], undefined],
    [{ room: true }, undefined],
    [true, undefined],
    ['x'.repeat(1_024), 'x'.repeat(1_024)],
    ['x'.repeat(1_025), undefined],
    [['ü'.repeat(512), 'x'], undefined],
  ])('%j', (claim, read) => {
    const expected = read ?? expect.objectContaining({ code: 'GROUP_INVALID' });
    expect(readGroupsClaim(claim)).toEqual(expected);
  });
});

test('a claim permits its name, and with a star every name that begins like it', () => {
  const names = fc.stringMatching(/^[ab]{1,3}$/);
  const entries = fc.tuple(names, fc.constantFrom('', '*'));
  fc.assert(
    fc.property(fc.array(entries), names, (all, group) => {
      const claims = readGroupsClaim(all.map((entry) => entry.join('')));
      const isPermitted = all.some(([name, star]) =>
        star === '' ? name === group : group.startsWith(name),
      );
      expect(rejectClaim(claims as string, group) === undefined).toBe(isPermitted);
    }),
  );
});

test('without claims no group is permitted', () => {
  expect(rejectClaim('', 'room')).toMatchObject({ code: 'PERMISSION_DENIED' });
  expect(rejectClaim('', '')).toMatchObject({ code: 'PERMISSION_DENIED' });
  expect(rejectClaim('*', 'room')).toBeUndefined();
});

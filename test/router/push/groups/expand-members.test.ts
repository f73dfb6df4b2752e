import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { userOf } from '../../../../common/wire/client-id.js';
import { expandMembers, usersOf } from '../../../../router/push/groups/expand-members.js';

const MAX = 3;
const users = fc.constantFrom('a', 'a!', 'b', 'c');
const devices = fc.constantFrom('1', '2', '3', '4', 'x/1');
const anyMembers = fc.uniqueArray(
  fc.oneof(
    users,
    fc.tuple(users, devices).map((parts) => parts.join('/')),
  ),
);
const deviceSets = fc.dictionary(users, fc.uniqueArray(devices));

test('every member gets the push once, and no other client does', () => {
  fc.assert(
    fc.property(anyMembers, deviceSets, (all, sets) => {
      const devicesOf = (user: string) => (all.includes(user) ? (sets[user] ?? []) : undefined);
      const { clientIds, tooMany } = expandMembers(all, devicesOf, MAX);
      expect(new Set(clientIds).size).toBe(clientIds.length);
      const expected = all.flatMap((member) => {
        const known = sets[member] ?? [];
        if (member.includes('/') || known.length === 0) return [member];
        return known.length > MAX ? [] : known.map((device) => `${member}/${device}`);
      });
      expect([...clientIds].sort()).toEqual([...new Set(expected)].sort());
      const isTooMany = (member: string) => (sets[member] ?? []).length > MAX;
      expect([...tooMany].sort()).toEqual(all.filter(isTooMany).sort());
      const { members, others } = usersOf(all);
      expect([...members, ...others].sort()).toEqual([...new Set(all.map(userOf))].sort());
      expect(members).toEqual(all.filter((member) => !member.includes('/')));
    }),
  );
});

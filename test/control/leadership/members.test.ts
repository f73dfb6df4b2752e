/** Processes that differ; and the list of controls, against a real Redis. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  countBuilds,
  differingSettings,
  type Member,
} from '../../../control/leadership/members.js';
import { Replicas } from '../../../control/leadership/replicas.js';
import { type LinkedRedis, startLinkedRedis } from '../../support/cluster/redis-link.js';
import { eventually } from '../../support/eventually.js';

const member = fc.record<Member>({
  role: fc.constantFrom('edge', 'router', 'control'),
  id: fc.string({ minLength: 1, maxLength: 3 }),
  version: fc.constantFrom('', '1', '2'),
  commit: fc.constantFrom('', 'a'),
  settings: fc.dictionary(fc.constantFrom('A', 'B', 'C'), fc.nat(2), { noNullPrototype: true }),
});

test('a setting is named if and only if two processes have different values', () => {
  fc.assert(
    fc.property(fc.array(member), (members) => {
      const found = differingSettings(members);
      for (const name of ['A', 'B', 'C']) {
        const values = members.flatMap(({ settings }) => settings[name] ?? []);
        const differs = found.find((each) => each.name === name);
        expect(differs !== undefined).toBe(new Set(values).size > 1);
        if (differs === undefined) continue;
        const sizes = differs.groups.map((group) => group.length);
        expect(sizes.reduce((sum, size) => sum + size)).toBe(values.length);
        expect(sizes).toEqual(sizes.toSorted((a, b) => b - a));
      }
    }),
  );
});

test('a process that does not say its build is no further build', () => {
  const of = (version: string, commit = ''): Member => ({
    ...{ role: 'edge', id: 'e', settings: {} },
    version,
    commit,
  });
  expect(countBuilds([])).toBe(0);
  expect(countBuilds([of('1'), of(''), of('1')])).toBe(1);
  expect(countBuilds([of('1'), of('2'), of('1', 'a')])).toBe(3);
});

let linked: LinkedRedis;
beforeAll(async () => {
  linked = await startLinkedRedis();
});
afterAll(() => linked?.stop());

test('controls know one another, until one stops; garbage is ignored', async () => {
  const { link } = linked;
  const key = link.names.controls;
  await link.commands.hset(key, 'garbage', 'x', 'later', '99999999999999 {"v":2}', 'old', '1 {}');
  const start = (id: string) =>
    new Replicas({
      ...{ link, id, url: `http://${id}:7200`, settings: { LONGLINE_AUTH: 7 } },
      build: { version: '0.2.0', node: '24.1.0', commit: '' },
    });
  const first = start('control-1');
  const second = start('control-2');
  const ids = () => first.all.map(({ id }) => id);
  await eventually(() => expect(ids()).toEqual(['control-1', 'control-2']), 20_000);
  expect(first.all[1]).toMatchObject({ url: 'http://control-2:7200', version: '0.2.0' });
  expect(await link.commands.hexists(key, 'old')).toBe(0);
  await second.close();
  await eventually(() => expect(ids()).toEqual(['control-1']), 20_000);
  await first.close();
});

import { expect, test } from '@jest/globals';
import {
  choosePrivateChannels,
  findUnproven,
  PROOF_MS_MAX,
} from '../../../common/cluster/private-channels.js';

test('a proof holds for three seconds', () => {
  const proven = new Map([['a', 1_000]]);
  expect(findUnproven(['a'], proven, 1_000 + PROOF_MS_MAX)).toEqual([]);
  expect(findUnproven(['a', 'b'], proven, 1_001 + PROOF_MS_MAX)).toEqual([
    'the last probe came back through Redis a 3.0 s ago',
    'no probe has come back yet through Redis b',
  ]);
});

test('each master keeps its channel for as long as that stays there', () => {
  let home: Record<string, string> = { x: 'a', y: 'b', z: 'b' };
  const choose = (masters: string[], current: ReadonlyMap<string, string>) =>
    choosePrivateChannels(masters, current, ['x', 'y', 'z'], (channel) => home[channel]);
  const first = choose(['a', 'b'], new Map());
  expect([...first]).toEqual([
    ['a', 'x'],
    ['b', 'y'],
  ]);
  home = { x: 'b', y: 'b', z: 'a' };
  const second = choose(['a', 'b', 'without shards'], first);
  expect([...second]).toEqual([
    ['a', 'z'],
    ['b', 'y'],
  ]);
});

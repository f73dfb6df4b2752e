import { expect, test } from '@jest/globals';
import {
  choosePrivateChannels,
  findUnproven,
  PROOF_MS_MAX,
} from '../../../common/cluster/private-channels.js';

test('a probe proves delivery for three seconds', () => {
  const proven = new Map([['a', 1_000]]);
  expect(findUnproven(['a'], proven, 1_000 + PROOF_MS_MAX)).toEqual([]);
  expect(findUnproven(['a', 'b'], proven, 1_001 + PROOF_MS_MAX)).toEqual([
    'the last probe returned through Redis a 3.0 s ago',
    'no probe has returned through Redis b yet',
  ]);
});

test('each master keeps its channel while the slot of the channel stays on it', () => {
  let masterOf: Record<string, string> = { x: 'a', y: 'b', z: 'b' };
  const choose = (masters: string[], current: ReadonlyMap<string, string>) =>
    choosePrivateChannels(masters, current, ['x', 'y', 'z'], (channel) => masterOf[channel]);
  const first = choose(['a', 'b'], new Map());
  expect([...first]).toEqual([
    ['a', 'x'],
    ['b', 'y'],
  ]);
  masterOf = { x: 'b', y: 'b', z: 'a' };
  const second = choose(['a', 'b', 'without shards'], first);
  expect([...second]).toEqual([
    ['a', 'z'],
    ['b', 'y'],
  ]);
});

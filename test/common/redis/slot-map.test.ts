import { expect, test } from '@jest/globals';
import { parseNatMap } from '../../../common/redis/endpoint/nat-map.js';
import { parseClusterSlots, singleMaster, splitAddress } from '../../../common/redis/slot-map.js';

test('the first node of each range is its master', () => {
  const map = parseClusterSlots(
    [
      [5, 5, ['b', 2, 'id'], ['a', 1, 'id']],
      [0, 4, ['a', 1, 'id']],
      [7, 16383, ['b', 2, 'id']],
    ],
    'queried',
  );
  expect(map.masters).toEqual(['a:1', 'b:2']);
  expect([0, 4, 5, 6, 7, 16383].map(map.masterOfSlot)).toEqual([
    ...['a:1', 'a:1', 'b:2', undefined, 'b:2', 'b:2'],
  ]);
  // CLUSTER KEYSLOT foo is 12182.
  expect([map.masterOf('foo'), map.masterOf('{foo}bar')]).toEqual(['b:2', 'b:2']);
});

test('a server that does not know its own host gets the host that was queried', () => {
  expect(parseClusterSlots([[0, 1, ['', 1]]], 'queried').masters).toEqual(['queried:1']);
  expect(parseClusterSlots([[0, 1, [null, 1]]], 'queried').masters).toEqual(['queried:1']);
});

test('a standalone Redis is the master of every slot', () => {
  const map = singleMaster('a:1');
  expect([map.masters, map.masterOfSlot(0), map.masterOfSlot(16383), map.masterOf('foo')]).toEqual([
    ['a:1'],
    'a:1',
    'a:1',
    'a:1',
  ]);
});

test('an address splits at its last colon', () => {
  expect(splitAddress('::1:6379')).toEqual({ host: '::1', port: 6379 });
});

test('translates announced addresses with the NAT map, and leaves others as they are', () => {
  const natMap = parseNatMap([
    '10.0.0.1:6379=redis-a.example:7001',
    '[2001:db8::1]:6379=[::1]:7002',
    'constructor:1=x:1',
  ]);
  const reply = [
    [0, 1, ['10.0.0.1', 6379]],
    [2, 3, ['2001:db8::1', 6379]],
    [4, 5, ['10.0.0.2', 6379]],
    // The server does not know its own host: that of the query counts.
    [6, 7, [null, 6380]],
  ];
  const map = parseClusterSlots(reply, 'queried', natMap);
  expect([0, 2, 4, 6].map((slot) => map.masterOfSlot(slot))).toEqual([
    'redis-a.example:7001',
    '::1:7002',
    '10.0.0.2:6379',
    'queried:6380',
  ]);
});

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseEndpoint } from '../../../common/net/ip-address.js';
import { connectionOf } from '../../../common/transport/transport.js';
import { AddressPrefixes } from '../../../edge/accept/address-prefixes.js';

const at = (slot: number) => connectionOf(slot, 1);
const from = (text: string) => parseEndpoint(text)!;

describe('AddressPrefixes', () => {
  test('limits the connections of one prefix, and of no other', () => {
    const prefixes = new AddressPrefixes(2);
    expect(prefixes.add(at(0), from('192.0.2.7:1000'))).toBe(true);
    expect(prefixes.add(at(1), from('192.0.2.7:1001'))).toBe(true);
    expect(prefixes.add(at(2), from('192.0.2.7:1002'))).toBe(false);
    expect(prefixes.add(at(3), from('192.0.2.8:1000'))).toBe(true);
    prefixes.remove(at(2));
    expect(prefixes.add(at(2), from('192.0.2.7:1002'))).toBe(false);
    prefixes.remove(at(0));
    expect(prefixes.add(at(2), from('192.0.2.7:1002'))).toBe(true);
  });

  test.each([
    ['[2001:db8:1:2::1]:7', '[2001:db8:1:2:ffff::9]:8', false],
    ['[2001:db8:1:2::1]:7', '[2001:0db8:0001:0002:0:0:0:1]:8', false],
    ['[2001:db8:1:2::1]:7', '[2001:db8:1:3::1]:8', true],
    ['[::1]:7', '[::2]:8', false],
    ['[::ffff:192.0.2.7]:7', '192.0.2.7:8', false],
    ['[::ffff:192.0.2.7]:7', '[::ffff:192.0.2.8]:8', true],
  ])('%s and %s: with a limit of one, both are counted: %s', (first, second, areBothCounted) => {
    const prefixes = new AddressPrefixes(1);
    prefixes.add(at(0), from(first));
    expect(prefixes.add(at(1), from(second))).toBe(areBothCounted);
  });

  test('counts slots far beyond the first', () => {
    const prefixes = new AddressPrefixes(1);
    expect(prefixes.add(at(100_000), from('192.0.2.7:1'))).toBe(true);
    prefixes.remove(at(100_000));
    expect(prefixes.count).toBe(0);
  });

  test('counts as a model does, and drops prefixes without connections', () => {
    const step = fc.record({ slot: fc.nat(8), host: fc.nat(3), isRemoval: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const prefixes = new AddressPrefixes(2);
        const model = new Map<number, number>();
        for (const { slot, host, isRemoval } of steps) {
          if (isRemoval) {
            prefixes.remove(at(slot));
            model.delete(slot);
          } else if (!model.has(slot)) {
            const count = [...model.values()].filter((each) => each === host).length;
            expect(prefixes.add(at(slot), from(`192.0.2.${host}:1`))).toBe(count < 2);
            if (count < 2) model.set(slot, host);
          }
          expect(prefixes.count).toBe(new Set(model.values()).size);
        }
      }),
    );
  });
});

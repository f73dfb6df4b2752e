/** Tests that need IPv6: skipped, with one line, on a machine without ::1. */
import { networkInterfaces } from 'node:os';
import { test } from '@jest/globals';

const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
const hasIpv6 = addresses.some(({ address }) => address === '::1');

if (!hasIpv6) console.log('skipped: this machine has no ::1');

export const testIpv6 = hasIpv6 ? test : (test.skip as typeof test);

/** A link-local address with its zone, such as `fe80::1%eth0`; undefined without one. */
export function linkLocalAddress(): string | undefined {
  for (const [zone, each] of Object.entries(networkInterfaces())) {
    const found = each?.find(({ address }) => address.startsWith('fe80:'));
    if (found !== undefined) return `${found.address}%${zone}`;
  }
  return undefined;
}

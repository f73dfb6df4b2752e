/**
 * Addresses that Redis servers announce (in CLUSTER SLOTS, in redirections, at Sentinels), and
 * those at which this process reaches them: behind NAT, a port forwarding or a proxy they differ.
 */
import { parseHostPort } from '../../net/host-port.js';

/** By announced `host:port` (an IPv6 address without brackets), the reachable host and port. */
export type NatMap = Readonly<Record<string, { readonly host: string; readonly port: number }>>;

/** @param entries `announced=reachable`, both as `host:port` */
export function parseNatMap(entries: readonly string[]): NatMap {
  return Object.fromEntries(
    entries.map((entry) => {
      const [announced, reachable] = entry.split('=').map((text) => parseHostPort(text)!);
      return [`${announced!.host}:${announced!.port}`, reachable!];
    }),
  );
}

/** The reachable address of an announced one. */
export function reachable(natMap: NatMap, address: string): string {
  const mapped = Object.hasOwn(natMap, address) ? natMap[address] : undefined;
  return mapped === undefined ? address : `${mapped.host}:${mapped.port}`;
}

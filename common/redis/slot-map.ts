/** The master of each Redis Cluster slot, as reported by one server. Immutable. */
import assert from 'node:assert';
import keySlot from 'cluster-key-slot';
import { type NatMap, reachable } from './endpoint/nat-map.js';

export interface SlotMap {
  /** `host:port`, sorted. */
  readonly masters: readonly string[];
  /** `host:port`; undefined while the slot has no master. */
  masterOfSlot(slot: number): string | undefined;
  /** The same for the slot of a key or channel. */
  masterOf(key: string): string | undefined;
}

/** The map of a standalone Redis, which is the master of every slot. */
export function singleMaster(address: string): SlotMap {
  return { masters: [address], masterOfSlot: () => address, masterOf: () => address };
}

/**
 * Parses a reply to CLUSTER SLOTS: `[first, last, [host, port, …], …replicas]` for each range.
 * @param queriedHost replaces the host of a server that does not know its own (empty or null, see
 *   https://redis.io/docs/latest/commands/cluster-slots)
 * @param natMap the addresses at which this process reaches the servers
 */
export function parseClusterSlots(
  reply: unknown,
  queriedHost: string,
  natMap: NatMap = {},
): SlotMap {
  assert(Array.isArray(reply), 'CLUSTER SLOTS did not return an array');
  const masterBySlot: string[] = [];
  const masters = new Set<string>();
  for (const [first, last, [host, port]] of reply as [number, number, [string | null, number]][]) {
    const address = reachable(natMap, `${host || queriedHost}:${port}`);
    masters.add(address);
    for (let slot = first; slot <= last; slot++) masterBySlot[slot] = address;
  }
  return {
    masters: [...masters].sort(),
    masterOfSlot: (slot) => masterBySlot[slot],
    masterOf: (key) => masterBySlot[keySlot(key)],
  };
}

/** Splits `host:port`; the host may be an IPv6 address with colons of its own. */
export function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}

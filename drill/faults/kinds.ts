/** All kinds of faults, by name. A new kind is one entry in a table of `kinds/`. */
import { Failure } from '../../cli/terminal/failure.js';
import { BASIC_KINDS } from './kinds/basic.js';
import { CLOCK_KINDS } from './kinds/clocks.js';
import {
  type ClusterFaultKind,
  type Family,
  optionOf,
  type RedisKind,
} from './kinds/fault-kind.js';
import { MEMORY_KINDS } from './kinds/memory.js';
import { NETWORK_KINDS } from './kinds/network.js';
import { REDIS_FAULT_KINDS } from './kinds/redis-faults.js';

/** Faults of the cluster, in the order in which the schedule draws them. */
export const CLUSTER_KINDS = {
  ...BASIC_KINDS,
  ...NETWORK_KINDS,
  ...REDIS_FAULT_KINDS,
  ...MEMORY_KINDS,
  ...CLOCK_KINDS,
};

export type ClusterKinds = typeof CLUSTER_KINDS;
export type ClusterKindName = keyof ClusterKinds;

/** Faults of devices, which are part of every drill; `load/fleet.ts` injects them. */
export const DEVICE_KINDS = ['cut', 'away', 'pause', 'takeover'] as const;

export type FaultKindName = ClusterKindName | (typeof DEVICE_KINDS)[number];

export const FAULT_KINDS: readonly FaultKindName[] = [
  ...(Object.keys(CLUSTER_KINDS) as ClusterKindName[]),
  ...DEVICE_KINDS,
];

/** @throws Failure when the text is not `none` or known names, separated by commas */
export function parseKinds(text: string): FaultKindName[] {
  const names = text === 'none' ? [] : text.split(',');
  const unknown = names.filter((name) => !(FAULT_KINDS as readonly string[]).includes(name));
  if (unknown.length === 0) return names as FaultKindName[];
  throw new Failure(
    `--only: no kind of fault is ${unknown.join(', ')}; expected none, or some of ${FAULT_KINDS.join(', ')}`,
  );
}

/** Names of the kinds of these families that are possible with this kind of Redis. */
export function possibleKinds(
  redis: RedisKind,
  families: readonly Family[] = [],
): readonly FaultKindName[] {
  return FAULT_KINDS.filter((name) => {
    const kind = clusterKind(name);
    if (kind === undefined) return true;
    const isOfFamily = kind.family === 'basic' || families.includes(kind.family);
    return isOfFamily && (kind.redis === undefined || kind.redis === redis);
  });
}

/** The options without which the kind is not possible. */
export function requirementOf(name: FaultKindName): string {
  const { family = 'basic', redis } = clusterKind(name) ?? {};
  const options = [
    ...(family === 'basic' ? [] : [optionOf(family)]),
    ...(redis === undefined ? [] : [`--redis ${redis}`]),
  ];
  return `${name} needs ${options.join(' and ')}`;
}

/** The families of these kinds, beside the basic ones. */
export function familiesOf(kinds: readonly FaultKindName[]): Family[] {
  const families = kinds.map((name) => clusterKind(name)?.family ?? 'basic');
  return [...new Set(families)].filter((family) => family !== 'basic');
}

/** Undefined for a fault of devices. */
export function clusterKind(name: string): ClusterFaultKind | undefined {
  return (CLUSTER_KINDS as Readonly<Record<string, ClusterFaultKind>>)[name];
}

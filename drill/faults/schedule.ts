/**
 * Schedule of faults. Pure: the same seed and shape give the same schedule. A seed reproduces the
 * schedule, not the interleaving, which depends on the operating system.
 *
 * Two streams of faults run in parallel. Faults of the cluster are drawn from a bag with one of
 * each kind that is refilled when it is empty, so that a run of a minute has all kinds; they may
 * overlap. After every few of them there is a lull: some promises only hold without faults, and
 * could not be checked otherwise. Faults of devices have no lulls.
 */

import type { DeviceFault } from './device-fault.js';
import type { ClusterFaultKind, ScheduleShape } from './kinds/fault-kind.js';
import { CLUSTER_KINDS, type ClusterKindName, type ClusterKinds, DEVICE_KINDS } from './kinds.js';
import { between, pick, type Random, seeded, shuffled } from './random.js';

/** A kind of the tables in `kinds/`, with the parameters that it has drawn. */
export type ClusterFault = {
  readonly [K in ClusterKindName]: { readonly kind: K } & Readonly<
    ReturnType<ClusterKinds[K]['draw']>
  >;
}[ClusterKindName];

export type Fault = ClusterFault | DeviceFault;
/** `atMs`: milliseconds from the start of the run. */
export type Scheduled = Fault & { readonly atMs: number };

/** Time in which all devices connect. */
const FIRST_MS = 2_000;
const CLUSTER_GAP_MS = { min: 500, max: 5_000 };
const FAULTS_BETWEEN_LULLS = 6;
const LULL_MS = 12_000;
const DEVICE_GAP_MS = { min: 50, max: 600 };
/** Maximum share of the devices that one fault affects. */
const DEVICES_SHARE_MAX = 0.1;
/** A paused device gets megabytes of pushes: only one drawn pause in eight is injected. */
const PAUSE_ONE_IN = 8;

/** Returns the faults in the order of time. */
export function planFaults(shape: ScheduleShape): Scheduled[] {
  const random = seeded(shape.seed);
  const cluster = clusterFaults(shape, seeded(random() * 2 ** 32));
  const devices = deviceFaults(shape, seeded(random() * 2 ** 32));
  return [...cluster, ...devices].sort((a, b) => a.atMs - b.atMs);
}

function clusterFaults(shape: ScheduleShape, random: Random): Scheduled[] {
  const kinds = shape.kinds.filter((kind): kind is ClusterKindName => kind in CLUSTER_KINDS);
  const faults: Scheduled[] = [];
  if (kinds.length === 0) return faults;
  let bag: ClusterKindName[] = [];
  for (let atMs = FIRST_MS; atMs < shape.durationMs; ) {
    if (bag.length === 0) bag = shuffled(random, kinds);
    faults.push({ atMs, ...clusterFault(bag.pop()!, shape, random) });
    atMs += between(random, CLUSTER_GAP_MS.min, CLUSTER_GAP_MS.max);
    if (faults.length % FAULTS_BETWEEN_LULLS === 0) atMs += LULL_MS;
  }
  return faults;
}

function clusterFault(kind: ClusterKindName, shape: ScheduleShape, random: Random): ClusterFault {
  const edge = between(random, 0, shape.edges - 1);
  const { draw } = CLUSTER_KINDS[kind] as ClusterFaultKind;
  return { kind, ...draw({ shape, random, edge }) } as ClusterFault;
}

function deviceFaults(shape: ScheduleShape, random: Random): Scheduled[] {
  const kinds = DEVICE_KINDS.filter((kind) => shape.kinds.includes(kind));
  const faults: Scheduled[] = [];
  if (kinds.length === 0) return faults;
  for (let atMs = FIRST_MS; atMs < shape.durationMs; ) {
    const kind = pick(random, kinds);
    const isSkipped = kind === 'pause' && between(random, 1, PAUSE_ONE_IN) > 1;
    if (!isSkipped) faults.push({ atMs, ...deviceFault(kind, shape, random) });
    atMs += between(random, DEVICE_GAP_MS.min, DEVICE_GAP_MS.max);
  }
  return faults;
}

function deviceFault(kind: DeviceFault['kind'], shape: ScheduleShape, random: Random): DeviceFault {
  const devices = someDevices(shape, random);
  switch (kind) {
    case 'cut':
      return { kind, devices, how: pick(random, ['reset', 'fin', 'silent']) };
    case 'away':
      return { kind, devices, forMs: between(random, 500, 8_000) };
    case 'pause':
      return { kind, device: devices[0]!, forMs: between(random, 2_000, 6_000) };
    case 'takeover':
      return { kind, devices, where: pick(random, ['owner', 'anywhere']) };
  }
}

/** Some of the busy devices, or, less often, of all devices. */
function someDevices(shape: ScheduleShape, random: Random): number[] {
  const among = random() < 0.7 ? shape.devicesBusy : shape.devices;
  const count = between(random, 1, Math.max(1, Math.floor(among * DEVICES_SHARE_MAX)));
  return Array.from({ length: count }, () => between(random, 0, among - 1));
}

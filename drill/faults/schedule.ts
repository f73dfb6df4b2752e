/**
 * Schedule of faults. Pure: the same seed and shape give the same schedule. A seed reproduces the
 * schedule, not the interleaving, which depends on the operating system.
 *
 * Two streams of faults run in parallel. Faults of the cluster are drawn from a bag with one of
 * each kind that is refilled when it is empty, so that a run of a minute has all kinds; they may
 * overlap. After every few of them there is a lull: some promises only hold without faults, and
 * could not be checked otherwise. Faults of devices have no lulls.
 */
import { between, pick, type Random, seeded, shuffled } from './random.js';

export type ClusterFault =
  /** SIGKILL, then a restart in place. */
  | { readonly kind: 'killEdge'; readonly edge: number }
  | { readonly kind: 'killRouter'; readonly router: number }
  | { readonly kind: 'killControl' }
  /** SIGSTOP for longer than its lease, then SIGCONT. */
  | { readonly kind: 'freezeEdge'; readonly edge: number; readonly forMs: number }
  /** SIGKILL, then a restart from the append-only file, on the same port. */
  | { readonly kind: 'killRedis'; readonly forMs: number }
  /** Redis closes the connection on which an edge receives pushes. */
  | { readonly kind: 'cutSubscriber'; readonly edge: number }
  /** An edge stops reading and receives so many pushes that Redis disconnects its subscriber. */
  | { readonly kind: 'stallSubscriber'; readonly edge: number; readonly forMs: number }
  /**
   * SIGKILL of one master of Redis Cluster. Its replica takes over, and it restarts as a replica.
   */
  | { readonly kind: 'killMaster'; readonly master: number; readonly forMs: number }
  /** The slot of a device's shard moves to another master, and back. */
  | { readonly kind: 'moveSlot'; readonly device: number; readonly forMs: number };

export type DeviceFault =
  /**
   * Ends connections. `silent`: stops reading a moment before a reset, so pushes in flight are
   * lost.
   */
  | {
      readonly kind: 'cut';
      readonly devices: readonly number[];
      readonly how: 'reset' | 'fin' | 'silent';
    }
  /** Disconnects, and reconnects later. */
  | { readonly kind: 'away'; readonly devices: readonly number[]; readonly forMs: number }
  /** Stops reading while it receives a flood of pushes, then continues. */
  | { readonly kind: 'pause'; readonly device: number; readonly forMs: number }
  /** Opens a second connection beside the first. */
  | {
      readonly kind: 'takeover';
      readonly devices: readonly number[];
      /** At the edge that the router names, or at any. */
      readonly where: 'owner' | 'anywhere';
    };

export type Fault = ClusterFault | DeviceFault;
export type FaultKind = Fault['kind'];
/** `atMs`: milliseconds from the start of the run. */
export type Scheduled = Fault & { readonly atMs: number };

export interface ScheduleShape {
  readonly seed: number;
  readonly durationMs: number;
  readonly edges: number;
  readonly routers: number;
  readonly devices: number;
  /** The first `devicesBusy` devices get most of the pushes, and most of the faults. */
  readonly devicesBusy: number;
  /** How long an edge that does not report keeps its shards. */
  readonly leaseMs: number;
  readonly kinds: readonly FaultKind[];
}

export type RedisKind = 'standalone' | 'cluster';

const STANDALONE_KINDS: readonly FaultKind[] = [
  ...(['killEdge', 'killRouter', 'killControl', 'freezeEdge'] as const),
  ...(['killRedis', 'cutSubscriber', 'stallSubscriber'] as const),
  ...(['cut', 'away', 'pause', 'takeover'] as const),
];

const CLUSTER_KINDS: readonly FaultKind[] = [
  ...STANDALONE_KINDS.filter((kind) => kind !== 'killRedis'),
  ...(['killMaster', 'moveSlot'] as const),
];

/** Kinds of faults that are possible with this kind of Redis. */
export function possibleKinds(redis: RedisKind): readonly FaultKind[] {
  return redis === 'cluster' ? CLUSTER_KINDS : STANDALONE_KINDS;
}

export const FAULT_KINDS = [...new Set([...STANDALONE_KINDS, ...CLUSTER_KINDS])];

const DEVICE_KINDS: readonly FaultKind[] = ['cut', 'away', 'pause', 'takeover'];

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
  const kinds = shape.kinds.filter((kind) => !DEVICE_KINDS.includes(kind));
  const faults: Scheduled[] = [];
  if (kinds.length === 0) return faults;
  let bag: FaultKind[] = [];
  for (let atMs = FIRST_MS; atMs < shape.durationMs; ) {
    if (bag.length === 0) bag = shuffled(random, kinds);
    faults.push({ atMs, ...clusterFault(bag.pop()!, shape, random) });
    atMs += between(random, CLUSTER_GAP_MS.min, CLUSTER_GAP_MS.max);
    if (faults.length % FAULTS_BETWEEN_LULLS === 0) atMs += LULL_MS;
  }
  return faults;
}

function clusterFault(kind: FaultKind, shape: ScheduleShape, random: Random): ClusterFault {
  const edge = between(random, 0, shape.edges - 1);
  switch (kind) {
    case 'killRouter':
      return { kind, router: between(random, 0, shape.routers - 1) };
    case 'killControl':
      return { kind };
    case 'freezeEdge':
      return { kind, edge, forMs: shape.leaseMs + between(random, 1_000, 6_000) };
    case 'killRedis':
      return { kind, forMs: between(random, 0, 4_000) };
    case 'stallSubscriber':
      return { kind, edge, forMs: between(random, 1_000, 3_000) };
    case 'killMaster':
      return { kind, master: between(random, 0, 2), forMs: between(random, 4_000, 7_000) };
    case 'moveSlot':
      return {
        kind,
        device: between(random, 0, shape.devicesBusy - 1),
        forMs: between(random, 200, 3_000),
      };
    case 'killEdge':
    case 'cutSubscriber':
      return { kind, edge };
    default:
      throw new Error(`${kind} is not a fault of the cluster`);
  }
}

function deviceFaults(shape: ScheduleShape, random: Random): Scheduled[] {
  const kinds = shape.kinds.filter((kind) => DEVICE_KINDS.includes(kind));
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

function deviceFault(kind: FaultKind, shape: ScheduleShape, random: Random): DeviceFault {
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
    default:
      throw new Error(`${kind} is not a fault of a device`);
  }
}

/** Some of the busy devices, or, less often, of all devices. */
function someDevices(shape: ScheduleShape, random: Random): number[] {
  const among = random() < 0.7 ? shape.devicesBusy : shape.devices;
  const count = between(random, 1, Math.max(1, Math.floor(among * DEVICES_SHARE_MAX)));
  return Array.from({ length: count }, () => between(random, 0, among - 1));
}

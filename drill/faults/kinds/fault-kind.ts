/**
 * Definition of one kind of fault of the cluster. Each kind is one entry of one of the
 * tables in this folder; `kinds.ts` has them all. Schedule, injection and report need nothing else.
 */
import type { LocalCluster } from '../../../cli/local/cluster.js';
import type { Clocks } from '../../clock/clocks.js';
import type { Disturbance, HistoryInProgress } from '../../history/history.js';
import type { Backend } from '../../load/backend.js';
import type { Fleet } from '../../load/fleet.js';
import type { MemoryGroups } from '../../memory/memory-groups.js';
import type { Network } from '../../network/network.js';
import { between, type Random } from '../random.js';
import type { RedisFixture } from '../redis-fixture.js';

export type RedisKind = 'standalone' | 'cluster';

/** `basic` faults are part of every drill; each other family is added by an option (`optionOf`). */
export const FAMILIES = [
  'basic',
  'network',
  'clocks',
  'clocks of Redis',
  'redis-faults',
  'memory',
] as const;

export type Family = (typeof FAMILIES)[number];

export function optionOf(family: Family): string {
  return family === 'clocks of Redis' ? '--clocks' : `--${family}`;
}

export interface ScheduleShape {
  readonly seed: number;
  readonly durationMs: number;
  readonly controls: number;
  readonly routers: number;
  readonly edges: number;
  readonly devices: number;
  /** The first `devicesBusy` devices get most of the pushes, and most of the faults. */
  readonly devicesBusy: number;
  /** How long an edge that does not report keeps its shards. */
  readonly leaseMs: number;
  /** Names of the kinds to draw from. */
  readonly kinds: readonly string[];
}

export interface Draw {
  readonly shape: ScheduleShape;
  readonly random: Random;
  /** Number of an edge, drawn for every fault. */
  readonly edge: number;
}

/** Parts that a fault acts on, and its ways to wait. */
export interface FaultRun {
  readonly cluster: LocalCluster;
  readonly redis: RedisFixture;
  /** Only with --memory. */
  readonly memory?: MemoryGroups | undefined;
  /** Only with --network. */
  readonly network?: Network | undefined;
  /** Only with --clocks. */
  readonly clocks?: Clocks | undefined;
  readonly fleet: Fleet;
  readonly backend: Backend;
  readonly history: HistoryInProgress;
  /** Aborts the faults in progress. */
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
  /** As returned by `target` of the kind. */
  readonly target: string;
  /** The record of this fault in the history. */
  readonly disturbance: Disturbance;
  sleep(ms: number): Promise<void>;
  /** SIGSTOP of a member, and SIGCONT after `forMs`. */
  freeze(member: string, forMs: number): Promise<void>;
  /** Resolves when the member is ready; after a while it is logged and not waited for. */
  untilReady(member: string): Promise<void>;
  untilAllReady(): Promise<void>;
}

/** `P`: the parameters that the seed decides. */
export interface ClusterFaultKind<P extends object = object> {
  readonly family: Family;
  /** The only kind of Redis with which it is possible; undefined for any. */
  readonly redis?: RedisKind;
  /** The edge may be gone for the cluster for longer than its lease, and keep its devices. */
  readonly isolates?: true;
  /** Its effect on the cluster, and how the cluster recovers, in a few words each. */
  readonly effect: string;
  readonly recovery: string;
  draw(draw: Draw): P;
  /** Faults with the same target follow one another; others may overlap. */
  target(fault: NoInfer<P>, cluster: Pick<LocalCluster, 'namesOf'>): string;
  /** Resolves when the cluster has recovered from the fault. */
  inject(fault: NoInfer<P>, run: FaultRun): Promise<void>;
}

/** Lets TypeScript infer the parameters of each kind of a table. */
export function faultKind<P extends object>(kind: ClusterFaultKind<P>): ClusterFaultKind<P> {
  return kind;
}

/** Number of a role among all processes of the cluster. */
export function drawRole({ shape, random }: Pick<Draw, 'shape' | 'random'>): number {
  return between(random, 0, shape.controls + shape.routers + shape.edges - 1);
}

export function roleName(number: number, cluster: Pick<LocalCluster, 'namesOf'>): string {
  const names = [
    ...cluster.namesOf('control'),
    ...cluster.namesOf('router'),
    ...cluster.namesOf('edge'),
  ];
  return names[number]!;
}

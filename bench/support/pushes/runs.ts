/** One run of a load: pushes at the devices, and the processor time of every process. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Receivers } from '../devices/receivers.js';
import {
  type CpuPerOperation,
  limitOf,
  medianCpu,
  type Pids,
  perOperation,
  watchCpu,
} from '../processes/cpu.js';
import { median, medianOf } from '../statistics.js';
import type { Backend, Clients, FanOut, Load } from './backend.js';

export interface Parties {
  readonly backend: Backend;
  readonly receivers: Receivers;
  readonly clients: Clients;
  /** All processes of the server, Redis included. */
  readonly server: Pids;
}

export interface SteadyRun {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  /** Processor time per push, in microseconds. */
  readonly cpuUs: CpuPerOperation;
  readonly limit: string;
  /** Cores that processes outside the bench used: a figure with more than 0.1 is in doubt. */
  readonly otherCores: number;
}

export interface FanOutRun {
  /** From the call to the last device. */
  readonly ms: number;
  /** Processor time per client, in microseconds. */
  readonly cpuUs: CpuPerOperation;
  readonly otherCores: number;
}

const LOAD_NAMES = ['backend', 'devices'];
/** Enough that the processor time, which the kernel tells in 10 ms, has no more than some 1 %. */
const FAN_OUTS_PER_RUN = 5;

/**
 * @param warmUpSeconds the load runs this long before it is measured: in the first 10 s, a fifth of
 *   the time of a Node.js process under load goes to its compiler; after 30 s, a hundredth
 */
export async function steadyRun(
  parties: Parties,
  load: Load,
  warmUpSeconds: number,
  seconds: number,
): Promise<SteadyRun> {
  const { backend, receivers, clients } = parties;
  await backend.start(load, clients);
  await sleep(warmUpSeconds * 1_000);
  await receivers.take();
  const usedCpu = watchCpu(allPids(parties));
  await sleep(seconds * 1_000);
  const { pushes, perSecond, p50Ms, p99Ms, p999Ms } = await receivers.take();
  const cpu = usedCpu();
  await backend.stop();
  return {
    ...{ perSecond, p50Ms, p99Ms, p999Ms },
    cpuUs: perOperation(cpu.used, pushes, LOAD_NAMES),
    limit: limitOf(cpu),
    otherCores: cpu.otherCores,
  };
}

export async function fanOutRun(parties: Parties, fanOut: FanOut): Promise<FanOutRun> {
  const { backend, receivers, clients } = parties;
  const times: number[] = [];
  await receivers.take();
  const usedCpu = watchCpu(allPids(parties));
  for (let i = 0; i < FAN_OUTS_PER_RUN; i++) {
    const [{ startUs }, { lastUs }] = await Promise.all([
      backend.fanOut(fanOut, clients),
      receivers.takeAll(clients.clients),
    ]);
    times.push((lastUs - startUs) / 1e3);
  }
  const { used, otherCores } = usedCpu();
  const cpuUs = perOperation(used, clients.clients * FAN_OUTS_PER_RUN, LOAD_NAMES);
  return { ms: median(times), cpuUs, otherCores };
}

export function medianSteadyRun(runs: readonly SteadyRun[]): SteadyRun {
  const of = (figure: 'perSecond' | 'p50Ms' | 'p99Ms' | 'p999Ms') =>
    medianOf(runs, (run) => run[figure], 2);
  return {
    perSecond: of('perSecond'),
    p50Ms: of('p50Ms'),
    p99Ms: of('p99Ms'),
    p999Ms: of('p999Ms'),
    cpuUs: medianCpu(runs),
    limit: runs.at(-1)!.limit,
    otherCores: medianOf(runs, ({ otherCores }) => otherCores, 2),
  };
}

export function medianFanOutRun(runs: readonly FanOutRun[]): FanOutRun {
  return {
    ms: medianOf(runs, ({ ms }) => ms, 1),
    cpuUs: medianCpu(runs),
    otherCores: medianOf(runs, ({ otherCores }) => otherCores, 2),
  };
}

function allPids({ server, backend, receivers }: Parties): Pids {
  return { ...server, backend: backend.pid, devices: receivers.pid };
}

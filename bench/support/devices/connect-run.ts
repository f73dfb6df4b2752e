/** Many devices connect at once: their rate, and the processor time of every process. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type CpuPerOperation,
  limitOf,
  medianCpu,
  type Pids,
  perOperation,
  watchCpu,
} from '../processes/cpu.js';
import { medianOf } from '../statistics.js';
import type { Device, Receivers } from './receivers.js';

export interface ConnectRun {
  /** Devices that were answered per second. */
  readonly perSecond: number;
  /** Processor time per connect, in microseconds. */
  readonly cpuUs: CpuPerOperation;
  readonly limit: string;
  /** Cores that processes outside the bench used. */
  readonly otherCores: number;
}

/** Time for the server to finish the work that the warm-up leaves. */
const WARM_UP_ENDS_MS = 2_000;

/** Connects all devices after others have connected and disconnected. */
export async function connectRun(
  server: Pids,
  receivers: Receivers,
  devices: { readonly warmUp: readonly Device[]; readonly measured: readonly Device[] },
): Promise<ConnectRun> {
  await receivers.connect(devices.warmUp);
  await receivers.close();
  await sleep(WARM_UP_ENDS_MS);
  const usedCpu = watchCpu({ ...server, devices: receivers.pid });
  const seconds = await receivers.connect(devices.measured);
  const cpu = usedCpu();
  return {
    perSecond: Math.round(devices.measured.length / seconds),
    cpuUs: perOperation(cpu.used, devices.measured.length, ['devices']),
    limit: limitOf(cpu),
    otherCores: cpu.otherCores,
  };
}

export function medianConnectRun(runs: readonly ConnectRun[]): ConnectRun {
  return {
    perSecond: medianOf(runs, ({ perSecond }) => perSecond, 0),
    cpuUs: medianCpu(runs),
    limit: runs.at(-1)!.limit,
    otherCores: medianOf(runs, ({ otherCores }) => otherCores, 2),
  };
}

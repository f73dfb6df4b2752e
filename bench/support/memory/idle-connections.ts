/** Memory that each idle connection adds to a server. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fleet } from '../devices/fleet.js';
import type { DeviceProtocol } from '../devices/requests.js';
import { slope } from '../statistics.js';

export const STEPS = 6;
const WARM_UP_CONNECTIONS = 500;
export const WARM_UP_ROUNDS = 20;
/** The memory is steady when so many reads are not below the lowest one. */
const STEADY_READS = 4;
const STEADY_BYTES = 100_000;
const READ_MS = 1_000;
const READS_MAX = 20;
/** Time in which the kernel frees what it frees with a delay. */
const KERNEL_FREES_MS = 1_500;

export interface IdleConnections<Reading extends string> {
  readonly fleet: Pick<Fleet, 'connect' | 'close'>;
  readonly port: number;
  readonly connections: number;
  readonly protocol: DeviceProtocol;
  readonly warmUpRounds: number;
  /** Path and query of the i-th device. */
  pathOf(i: number): Promise<string>;
  /** Called between warm-up and the first step. */
  beforeSteps?(): Promise<void>;
  /** Bytes by kind, while `connections` are open. */
  read(connections: number): Promise<Record<Reading, number>>;
}

/** Waits until the memory of the warm-up is given back, over many garbage collections. */
async function untilSteady(read: (connections: number) => Promise<Record<string, number>>) {
  let lowest = Number.POSITIVE_INFINITY;
  for (let i = 0, since = 0; i < READS_MAX && since < STEADY_READS; i++) {
    await sleep(READ_MS);
    const { user = 0 } = await read(0);
    since = user < lowest - STEADY_BYTES ? 0 : since + 1;
    lowest = Math.min(lowest, user);
  }
}

/**
 * Opens the connections in steps and reads the memory after each.
 *
 * Before the first step a few devices connect and disconnect repeatedly: code is compiled and the
 * young generation reaches its size, which would be counted as connections otherwise.
 *
 * @returns bytes per connection, by kind: the slope over the steps. All connections stay open.
 */
export async function bytesPerConnection<Reading extends string>(
  options: IdleConnections<Reading>,
): Promise<Record<Reading, number>> {
  const { fleet, port, connections, protocol, pathOf } = options;
  let open = 0;
  const connectUntil = async (count: number) => {
    const paths: string[] = [];
    while (open < count) paths.push(await pathOf(open++));
    await fleet.connect([{ port, paths }], protocol);
  };
  for (let round = 0; round < options.warmUpRounds; round++) {
    await connectUntil(Math.min(WARM_UP_CONNECTIONS, connections));
    await fleet.close();
    open = 0;
  }
  await options.beforeSteps?.();
  await untilSteady(options.read);
  const points = new Map<string, [number, number][]>();
  for (let step = 1; step <= STEPS; step++) {
    await connectUntil(Math.round((connections * step) / STEPS));
    await sleep(KERNEL_FREES_MS);
    for (const [name, bytes] of Object.entries<number>(await options.read(open))) {
      points.set(name, [...(points.get(name) ?? []), [open, bytes]]);
    }
  }
  const slopes = [...points].map(([name, of]) => [name, slope(of)]);
  return Object.fromEntries(slopes) as Record<Reading, number>;
}

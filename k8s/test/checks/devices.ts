/** Runs the devices and the backend of the rebalance bench against the services of the chart. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { ClientsResult, ToClients } from '../../../bench/rebalance/clients-process.js';
import { until } from '../until.js';

const PROCESSES = 2;
const CONNECTED_MS_MAX = 60_000;

export interface DevicesOptions {
  readonly count: number;
  readonly pushesPerSecond: number;
  /** HTTP URL of the routers. */
  readonly routerUrl: string;
  /** gRPC address of the routers, `host:port`. */
  readonly routerAddress: string;
}

export class Devices {
  readonly #count: number;
  readonly #children: ChildProcess[] = [];

  private constructor(count: number) {
    this.#count = count;
  }

  /** Resolves when all devices are connected and receive pushes. */
  static async connect({ count, pushesPerSecond, ...at }: DevicesOptions): Promise<Devices> {
    const devices = new Devices(count);
    const script = fileURLToPath(
      new URL('../../../bench/rebalance/clients-process.js', import.meta.url),
    );
    for (let i = 0; i < PROCESSES; i++) devices.#children.push(fork(script));
    await devices.#request((i) => ({
      ...{ type: 'connect', prefix: `client-${i}`, ...at, edgeUrls: [] },
      clients: Math.floor((count + i) / PROCESSES),
      pushesPerSecond: pushesPerSecond / PROCESSES,
    }));
    await devices.untilConnected();
    return devices;
  }

  async untilConnected(): Promise<void> {
    await until(`${this.#count} devices are connected`, CONNECTED_MS_MAX, async () => {
      const counts = (await this.#request(() => ({ type: 'count' }))) as number[];
      return counts.reduce((sum, count) => sum + count, 0) === this.#count;
    });
  }

  /** Starts a phase: later pushes are counted under its name. */
  async beginPhase(name: string): Promise<void> {
    await this.#request(() => ({ type: 'phase', name }));
  }

  /** Waits for pushes in flight and disconnects the devices. */
  async finish(): Promise<readonly ClientsResult[]> {
    const results = (await this.#request(() => ({ type: 'finish' }))) as ClientsResult[];
    for (const child of this.#children) child.kill();
    return results;
  }

  #request(message: (process: number) => ToClients): Promise<unknown[]> {
    return Promise.all(
      this.#children.map(async (child, i) => {
        const answered = once(child, 'message');
        child.send(message(i));
        return (await answered)[0];
      }),
    );
  }
}

/** Devices in several processes: one process can open some 20,000 files at most. */
import { sum } from '../statistics.js';
import type { Arrived, Connected, Counts, ToFleet } from './fleet-process.js';
import type { DeviceProtocol } from './requests.js';
import { WorkerProcesses } from './worker-processes.js';

export interface ConnectJob {
  readonly port: number;
  /** Path and query of each device. */
  readonly paths: readonly string[];
}

export class Fleet {
  readonly #workers: WorkerProcesses<ToFleet>;

  /** @param size number of processes */
  constructor(size: number) {
    const module = new URL('fleet-process.js', import.meta.url);
    this.#workers = new WorkerProcesses({ count: size, module });
  }

  /**
   * Connects devices, one job per process, all jobs at the same time. Source addresses differ
   * between processes, because one address has only some 28,000 ports towards one address and port.
   * @returns seconds from the first SYN to the last answer
   * @throws Error when a device was rejected
   */
  async connect(
    jobs: readonly ConnectJob[],
    protocol: DeviceProtocol = 'sse',
  ): Promise<{ seconds: number }> {
    const answers = await Promise.all(
      jobs.map(({ port, paths }, i) =>
        this.#workers.call<Connected>(i, {
          type: 'connect',
          port,
          paths,
          protocol,
          network: i + 1,
        }),
      ),
    );
    const failed = sum(answers.map((answer) => answer.failed));
    if (failed > 0) throw new Error(`${failed} devices could not connect`);
    const fromUs = Math.min(...answers.map((answer) => answer.fromUs));
    const untilUs = Math.max(...answers.map((answer) => answer.untilUs));
    return { seconds: (untilUs - fromUs) / 1e6 };
  }

  /** Resets the counters and sets the number of events that `arrived` waits for, per process. */
  async expect(events: readonly number[]): Promise<void> {
    await Promise.all(
      events.map((count, i) => this.#workers.call(i, { type: 'expect', events: count })),
    );
  }

  /** Resolves when every process has received the events that `expect` announced. */
  async arrived(): Promise<Arrived> {
    const answers = await this.#workers.callAll<Arrived>(() => ({ type: 'arrived' }));
    return {
      firstUs: Math.min(...answers.map((answer) => answer.firstUs)),
      lastUs: Math.max(...answers.map((answer) => answer.lastUs)),
    };
  }

  async counts(): Promise<Counts> {
    const all = await this.#workers.callAll<Counts>(() => ({ type: 'count' }));
    const total = (name: keyof Counts) => sum(all.map((counts) => counts[name]));
    return {
      connections: total('connections'),
      events: total('events'),
      without: total('without'),
      twice: total('twice'),
    };
  }

  /** Closes all connections; resolves when they are closed. */
  async close(): Promise<void> {
    await this.#workers.callAll(() => ({ type: 'close' }));
  }

  stop(): void {
    this.#workers.stop();
  }
}

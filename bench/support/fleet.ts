/** As many processes of devices as it takes: each can open at most some 20,000 files. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { GreetingName } from '../memory/requests.js';
import type { Arrived, Connected, Counts, ToDevices } from './devices.js';

export interface ConnectJob {
  readonly port: number;
  readonly paths: readonly string[];
}

export class Fleet {
  readonly #processes: ChildProcess[] = [];

  /**
   * @param size how many processes
   * @param script what they run
   */
  constructor(size: number, script: 'devices.js' | 'tls-devices.js' = 'devices.js') {
    for (let i = 0; i < size; i++) {
      this.#processes.push(fork(fileURLToPath(new URL(script, import.meta.url))));
    }
  }

  /**
   * Connects, each process its own job at the same time. Source addresses differ per process, for
   * one has only some 28,000 ports towards one address and port.
   * @returns when all were answered, and how long it took from the first to the last
   * @throws when a device was not let in
   */
  async connect(
    jobs: readonly ConnectJob[],
    protocol: GreetingName = 'sse',
  ): Promise<{ seconds: number }> {
    const answers = (await Promise.all(
      jobs.map(({ port, paths }, i) =>
        ask(this.#processes[i]!, {
          type: 'connect',
          port,
          paths,
          protocol,
          network: i + 1,
        }),
      ),
    )) as Connected[];
    const failed = answers.reduce((sum, answer) => sum + answer.failed, 0);
    if (failed > 0) throw new Error(`${failed} devices were not let in`);
    const fromUs = Math.min(...answers.map((answer) => answer.fromUs));
    const untilUs = Math.max(...answers.map((answer) => answer.untilUs));
    return { seconds: (untilUs - fromUs) / 1e6 };
  }

  /** How many events each process is to get from now on. */
  async expect(events: readonly number[]): Promise<void> {
    await Promise.all(
      events.map((number, i) => ask(this.#processes[i]!, { type: 'expect', events: number })),
    );
  }

  /** Resolves when each process has got what it was to expect. */
  async arrived(): Promise<Arrived> {
    const answers = (await Promise.all(
      this.#processes.map((child) => ask(child, { type: 'arrived' })),
    )) as Arrived[];
    return {
      firstUs: Math.min(...answers.map((answer) => answer.firstUs)),
      lastUs: Math.max(...answers.map((answer) => answer.lastUs)),
    };
  }

  async counts(): Promise<Counts> {
    const sum = { connections: 0, events: 0, without: 0, twice: 0 };
    for (const child of this.#processes) {
      const each = (await ask(child, { type: 'count' })) as Counts;
      for (const name of Object.keys(sum) as (keyof Counts)[]) sum[name] += each[name];
    }
    return sum;
  }

  async close(): Promise<void> {
    await Promise.all(this.#processes.map((child) => ask(child, { type: 'close' })));
  }

  stop(): void {
    for (const child of this.#processes) child.kill();
  }
}

async function ask(child: ChildProcess, message: ToDevices): Promise<unknown> {
  const given = new AbortController();
  try {
    const answered = once(child, 'message', { signal: given.signal });
    const gone = once(child, 'exit', { signal: given.signal }).then(() => {
      throw new Error('a process of devices ended');
    });
    child.send(message);
    return (await Promise.race([answered, gone]))[0];
  } finally {
    given.abort();
  }
}

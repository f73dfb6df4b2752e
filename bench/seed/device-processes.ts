import { setTimeout as sleep } from 'node:timers/promises';
import type { DeviceCounts } from '../support/devices/sse-devices.js';
import { WorkerProcesses } from '../support/devices/worker-processes.js';
import { progress } from '../support/report.js';
import { sum } from '../support/statistics.js';
import type { ToDevices } from './devices-process.js';

/** Below the number of files that a process may have open here. */
const DEVICES_PER_PROCESS = 18_000;
const POLL_MS = 500;
/** `until` gives up when nothing has changed for this time. */
const STALL_MS = 60_000;
/** It also gives up after this time. */
const MS_MAX = 15 * 60_000;
const SAID_AGAIN_MS = 10_000;

/** All devices of the seed bench, in as many processes as they need. */
export class DeviceProcesses {
  readonly #workers: WorkerProcesses<ToDevices>;
  readonly #parts: string[][];

  constructor(clientIds: readonly string[]) {
    const count = Math.ceil(clientIds.length / DEVICES_PER_PROCESS);
    const size = Math.ceil(clientIds.length / count);
    this.#parts = Array.from({ length: count }, (_, i) =>
      clientIds.slice(i * size, (i + 1) * size),
    );
    const module = new URL('devices-process.js', import.meta.url);
    this.#workers = new WorkerProcesses({ count, module, ownSession: true });
  }

  async connect(entryUrls: readonly string[]): Promise<void> {
    await this.#workers.callAll((i) => ({
      type: 'connect',
      network: i + 1,
      clientIds: this.#parts[i]!,
      entryUrls,
    }));
  }

  async counts(expected: number): Promise<DeviceCounts> {
    const all = await this.#workers.callAll<DeviceCounts>(() => ({ type: 'count', expected }));
    const total = (name: keyof DeviceCounts) => sum(all.map((counts) => counts[name]));
    return {
      connected: total('connected'),
      missing: total('missing'),
      doubled: total('doubled'),
      redirects: total('redirects'),
      goaways: total('goaways'),
      failures: total('failures'),
      ended: total('ended'),
    };
  }

  /** Resolves when nothing is left, or the rest has stayed the same for too long. */
  async until(
    what: string,
    expected: number,
    restOf: (counts: DeviceCounts) => number,
  ): Promise<void> {
    const startMs = performance.now();
    let fewest = Number.POSITIVE_INFINITY;
    let changedAtMs = startMs;
    let sayAtMs = startMs + SAID_AGAIN_MS;
    for (;;) {
      const counts = await this.counts(expected);
      const rest = restOf(counts);
      if (rest === 0) return;
      const nowMs = performance.now();
      if (rest < fewest) changedAtMs = nowMs;
      fewest = Math.min(fewest, rest);
      const isOver = nowMs > startMs + MS_MAX || nowMs > changedAtMs + STALL_MS;
      if (isOver || nowMs > sayAtMs) {
        const seconds = Math.round((nowMs - startMs) / 1_000);
        progress(`${what}, ${seconds} s: ${rest} devices are left, ${JSON.stringify(counts)}`);
        sayAtMs = nowMs + SAID_AGAIN_MS;
      }
      if (isOver) return;
      await sleep(POLL_MS);
    }
  }

  stop(): void {
    this.#workers.stop();
  }
}

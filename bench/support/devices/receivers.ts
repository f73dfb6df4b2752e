/** Devices that measure the latency of pushes, in a process of their own. */
import type { ReceivedPushes, ToReceivers } from './receivers-process.js';
import { WorkerProcesses } from './worker-processes.js';

export interface Receivers {
  /**
   * Pushes received since the last call.
   * @throws Error when a device has lost its connection
   */
  take(): Promise<ReceivedPushes>;
  stop(): void;
}

/** Resolves when a device is connected to each of the URLs. */
export async function startReceivers(urls: readonly string[]): Promise<Receivers> {
  const module = new URL('receivers-process.js', import.meta.url);
  const workers = new WorkerProcesses<ToReceivers>({ count: 1, module });
  await workers.call(0, { type: 'connect', urls });
  return {
    take: () => workers.call(0, { type: 'take' }),
    stop: () => workers.stop(),
  };
}

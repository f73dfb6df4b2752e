/** Starts the devices of a bench that measures latencies (push-receivers.ts). */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Received, ToReceivers } from './receivers-process.js';

export interface Receivers {
  /** What came since the last call. @throws when a device has lost its connection */
  take(): Promise<Received>;
  stop(): void;
}

/** Resolves when each is connected to its URL. */
export async function startReceivers(urls: readonly string[]): Promise<Receivers> {
  const child = fork(fileURLToPath(new URL('receivers-process.js', import.meta.url)));
  const gone = once(child, 'exit').then(() => {
    throw new Error('a device lost its connection');
  });
  // Whoever asks hears of it.
  gone.catch(() => {});
  const ask = async (message: ToReceivers): Promise<unknown> => {
    const answered = new Promise((resolve) => child.once('message', resolve));
    child.send(message);
    return Promise.race([answered, gone]);
  };
  await ask({ type: 'connect', urls });
  return {
    take: () => ask({ type: 'take' }) as Promise<Received>,
    stop: () => child.kill(),
  };
}

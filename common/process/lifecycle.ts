/**
 * How a role's process lives: it starts, says so in one line, and stops once, whatever the reason.
 * Only `main.ts` of a role uses this.
 */
import { ConfigError } from './config.js';
import type { Logger } from './log.js';

/** A stop that takes longer is cut: what is held open then is not ours to wait for. */
const STOP_DEADLINE_MS = 10_000;

/**
 * Stops on SIGTERM, on SIGINT and when the parent that started us over an IPC channel is gone, so
 * that a crashed local cluster leaves nothing running. Exits 0 when `stop` resolves. A signal while
 * it is stopping exits at once.
 * @param leave what SIGTERM asks for instead, the first time: to get ready to stop, however long that
 * takes
 * @returns stops for another reason
 */
export function stopOnSignals(
  log: Logger,
  stop: () => Promise<void>,
  leave?: () => void,
): (reason: string) => void {
  for (const end of ENDS) process.off(end, endAtOnce);
  let leaving = false;
  let stopping = false;
  const begin = (reason: string) => {
    if (stopping) process.exit(1);
    stopping = true;
    log.info({ reason }, 'stopping');
    setTimeout(() => {
      log.error('did not stop in time');
      process.exit(1);
    }, STOP_DEADLINE_MS).unref();
    stop().then(
      () => process.exit(0),
      (error) => {
        log.error({ err: error }, 'stop failed');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', (signal) => {
    if (leave === undefined || leaving || stopping) return begin(signal);
    leaving = true;
    log.info({ reason: signal }, 'leaving');
    leave();
  });
  process.on('SIGINT', begin);
  if (process.connected) process.once('disconnect', () => begin('parent is gone'));
  return (reason) => {
    if (!stopping) begin(reason);
  };
}

/** The ports that a process listens on, by what they are for, such as `{ devices: 7000 }`. */
export type ListeningPorts = Readonly<Record<string, number>>;

/** Says in the log, and to a parent that started us over an IPC channel, where we listen. */
export function announceListening(log: Logger, ports: ListeningPorts): void {
  log.info({ ports }, 'listening');
  process.send?.({ type: 'listening', ports });
}

/**
 * Runs a role's start. An environment problem ends the process with one readable message, a signal
 * or the end of its parent ends it at once: there is nothing yet that could be left in order. Nobody else would end it, as the
 * kernel spares the first process of a container.
 */
export async function runRole(start: () => Promise<void>): Promise<void> {
  for (const end of ENDS) process.on(end, endAtOnce);
  try {
    await start();
  } catch (error) {
    if (error instanceof ConfigError || isEnvironmentError(error)) {
      process.stderr.write(`${error.message}\n`);
      process.exit(78); // EX_CONFIG of sysexits(3)
    }
    throw error;
  }
}

/** What ends a process that has not started yet; `disconnect`: its parent is gone. */
const ENDS = ['SIGTERM', 'SIGINT', 'disconnect'] as const;

function endAtOnce(): void {
  process.exit(0);
}

/** The machine or a neighbour is not as it must be; the message says what to do. */
export class EnvironmentError extends Error {}

function isEnvironmentError(error: unknown): error is Error {
  return (
    error instanceof EnvironmentError || (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
  );
}

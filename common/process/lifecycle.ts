/** Start and stop of a role's process. A process logs one line when it listens, and stops once. */
import { joinHostPort } from '../net/host-port.js';
import { ConfigError } from './config.js';
import type { Logger } from './log.js';

/** Maximum duration of `stop`; a process that is not done by then exits with status 1. */
const STOP_DEADLINE_MS = 10_000;

/**
 * Stops the process on SIGTERM, on SIGINT, and when its parent closes the IPC channel, so that a
 * crashed local cluster leaves no processes behind. Exits with status 0 when `stop` resolves.
 * SIGINT during the stop exits at once; SIGTERM has no further effect.
 * @param drain called on the first SIGTERM instead of `stop`; the process then runs until the
 * returned function is called
 * @returns a function that stops the process, with the reason for the log
 */
export function stopOnSignals(
  log: Logger,
  stop: () => Promise<void>,
  drain?: () => void,
): (reason: string) => void {
  for (const event of EARLY_EXIT_EVENTS) process.off(event, exitAtOnce);
  let draining = false;
  let stopping = false;
  const begin = (reason: string) => {
    if (stopping) process.exit(1);
    stopping = true;
    log.info({ reason }, 'stopping');
    setTimeout(() => {
      log.error({ deadlineMs: STOP_DEADLINE_MS }, 'stop timed out; exiting');
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
    // The stop is bounded, and ending it early would lose answers. SIGINT does so.
    if (stopping) return;
    if (drain === undefined || draining) return begin(signal);
    draining = true;
    log.info({ reason: signal }, 'draining before the stop');
    drain();
  });
  process.on('SIGINT', begin);
  if (process.connected) process.once('disconnect', () => begin('parent process ended'));
  return (reason) => {
    if (!stopping) begin(reason);
  };
}

/** Resolves when `work` is done, or after `ms`: a stop waits for nothing without a limit. */
export async function within(ms: number, work: Promise<unknown> | undefined): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}

/** Ports that a process listens on, by purpose, such as `{ devices: 7000 }`. */
export type ListeningPorts = Readonly<Record<string, number>>;

/** Reports the listening ports in the log and, over an IPC channel, to the parent process. */
export function announceListening(log: Logger, ports: ListeningPorts): void {
  log.info({ ports }, 'listening');
  process.send?.({ type: 'listening', ports });
}

/**
 * Runs the start of a role. A problem of the environment ends the process with one readable
 * message. A signal or the end of the parent process exits at once, as there is no state to clean
 * up yet. The handlers are needed because PID 1 of a container has no default signal actions.
 */
export async function runRole(start: () => Promise<void>): Promise<void> {
  for (const event of EARLY_EXIT_EVENTS) process.on(event, exitAtOnce);
  try {
    await start();
  } catch (error) {
    if (error instanceof ConfigError || error instanceof EnvironmentError) {
      exitForEnvironment(error);
    }
    throw error;
  }
}

/** Ends the process at once with one readable message. */
export function exitForEnvironment(error: ConfigError | EnvironmentError): never {
  process.stderr.write(`${error.message}\n`);
  process.exit(78); // EX_CONFIG of sysexits(3)
}

/** Events that end a process during its start; `disconnect`: its parent process ended. */
const EARLY_EXIT_EVENTS = ['SIGTERM', 'SIGINT', 'disconnect'] as const;

function exitAtOnce(): void {
  process.exit(0);
}

/** The machine or a peer prevents the start; the message says what to do. */
export class EnvironmentError extends Error {}

/** Reasons for an operator, by the error of a port that cannot be listened on. */
const LISTEN_REASONS: Readonly<Record<string, string>> = {
  EACCES: 'the port needs a privilege of this process',
  EADDRINUSE: 'another process has the port',
  EADDRNOTAVAIL: 'this machine does not have the address',
  EAFNOSUPPORT: 'this machine has no IPv6',
  ENOTFOUND: 'the host name is unknown',
};

/** Resolves with the port of `listen`. @throws EnvironmentError when it cannot listen */
export async function listenOn(
  host: string,
  port: number,
  listen: (host: string, port: number) => Promise<number>,
): Promise<number> {
  try {
    return await listen(host, port);
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    const reason = code in LISTEN_REASONS ? `${LISTEN_REASONS[code]} (${code})` : message;
    throw new EnvironmentError(`cannot listen on ${joinHostPort(host, port)}: ${reason}`);
  }
}

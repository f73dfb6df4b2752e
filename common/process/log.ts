import { type Logger, pino } from 'pino';

export type { Logger };

/** One JSON line per event on standard output. Never logs a payload or a token. */
export function createLogger(role: string, id: string, level: string): Logger {
  // Not pino's own destination: when the reader of the log has died, it retries the last line for
  // ever, and the process never exits.
  process.stdout.on('error', () => {});
  const options = { level, base: { role, id }, timestamp: pino.stdTimeFunctions.isoTime };
  return pino(options, process.stdout);
}

const LOG_INTERVAL_MS = 10_000;

/** Keeps a message that anything outside may cause often from filling the log. */
export class LogInterval {
  #loggedAtMs = Number.NEGATIVE_INFINITY;

  /** True at most once per ten seconds. @param nowMs of the monotonic clock */
  isDue(nowMs: number): boolean {
    if (nowMs - this.#loggedAtMs < LOG_INTERVAL_MS) return false;
    this.#loggedAtMs = nowMs;
    return true;
  }
}

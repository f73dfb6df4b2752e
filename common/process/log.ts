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

import { type Logger, pino } from 'pino';

export type { Logger };

/** One JSON line per event on standard output. Never logs a payload or a token. */
export function createLogger(role: string, id: string, level: string): Logger {
  return pino({ level, base: { role, id }, timestamp: pino.stdTimeFunctions.isoTime });
}

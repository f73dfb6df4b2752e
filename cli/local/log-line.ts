/**
 * Output of a role, for the terminal: log lines are JSON (pino), anything else comes from a crash.
 */
export interface LogLine {
  readonly text: string;
  /** Whether it is a warning, an error, or not a log line at all. */
  readonly isAlarming: boolean;
}

/** Pino's numbers of the levels from `warn` up. */
const ALARMING_LEVELS: Readonly<Record<number, string>> = { 40: 'warn', 50: 'error', 60: 'fatal' };

export function readLogLine(line: string): LogLine {
  const entry = parse(line);
  if (entry === undefined) return { text: line, isAlarming: true };
  const level = ALARMING_LEVELS[entry.level];
  const cause = entry.err?.message ?? entry.reason;
  const text = `${level ?? 'info'}: ${entry.msg}${cause ? `: ${cause}` : ''}`;
  return { text, isAlarming: level !== undefined };
}

interface Entry {
  readonly level: number;
  readonly msg: string;
  readonly reason?: string;
  readonly err?: { readonly message?: string };
}

function parse(line: string): Entry | undefined {
  try {
    const entry = JSON.parse(line);
    return typeof entry?.level === 'number' ? entry : undefined;
  } catch {
    return undefined;
  }
}

/** Parsers of command-line options. */
import { type Command, InvalidArgumentError } from 'commander';
import { FAULT_KINDS, type FaultKind } from '../../drill/faults/schedule.js';

/** Adds the options of every command that calls control. */
export function withControl(command: Command): Command {
  return command
    .option('--control <url>', 'HTTP address of control', httpUrl, 'http://localhost:7200')
    .option('--token <token>', 'token for control; prefer LONGLINE_TOKEN')
    .option('--json', 'print JSON');
}

export function wholeNumber(min: number, max: number) {
  return (text: string): number => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`expected a whole number from ${min} to ${max}`);
  };
}

const UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 };

/** Parses a duration such as `90s` into milliseconds. */
export function duration(text: string): number {
  const [, count, unit] = /^(\d{1,6})([smh])$/.exec(text) ?? [];
  if (unit !== undefined) return Number(count) * UNITS_MS[unit]!;
  throw new InvalidArgumentError('expected a duration such as 90s, 5m or 1h');
}

export function faultKinds(text: string): FaultKind[] {
  const kinds = text === 'none' ? [] : text.split(',');
  const unknown = kinds.filter((kind) => !(FAULT_KINDS as string[]).includes(kind));
  if (unknown.length === 0) return kinds as FaultKind[];
  throw new InvalidArgumentError(`expected none, or some of ${FAULT_KINDS.join(', ')}`);
}

function httpUrl(text: string): string {
  if (/^https?:\/\/[^/\s]+\/?$/.test(text) && URL.canParse(text)) return text;
  throw new InvalidArgumentError('expected a URL such as http://localhost:7200');
}

/** Parsers of command-line options. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { hostPortProblem, hostProblem } from '../../common/net/host-port.js';

/** Adds the options of every command that calls control. */
export function withControl(command: Command): Command {
  return command
    .addOption(
      optionFromEnv(
        new Option('--control <url>', 'HTTP address of control')
          .default('http://localhost:7200')
          .argParser(httpUrl),
        'LONGLINE_CONTROL',
      ),
    )
    .option('--token <token>', 'token for control; prefer LONGLINE_TOKEN')
    .option('--json', 'print JSON');
}

/** Adds the options of every command that changes something through control. */
export function withReason(command: Command): Command {
  return withControl(command).option('--reason <text>', 'reason, for the event log');
}

/**
 * Makes a variable the default of an option; as for settings, an empty variable counts as unset.
 */
export function optionFromEnv(option: Option, name: string): Option {
  if (process.env[name] === '') delete process.env[name];
  return option.env(name);
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

export function hostPort(text: string): string {
  // Also without a port, or a gRPC target such as dns:///router:7101.
  const isName = !text.includes(':') && hostProblem(text) === undefined;
  if (isName || /^(dns|ipv4|ipv6|unix):\S+$/.test(text)) return text;
  const problem = hostPortProblem(text);
  if (problem === undefined) return text;
  throw new InvalidArgumentError(problem);
}

/** Parses `accepted`, `fsynced` or `replicated:<n>`. */
export function acceptLevel(text: string): { level: string; replicas: number } {
  const [, plain, replicas] = /^(accepted|fsynced)$|^replicated:([1-9]\d?)$/.exec(text) ?? [];
  if (plain !== undefined) return { level: plain, replicas: 0 };
  if (replicas !== undefined) return { level: 'replicated', replicas: Number(replicas) };
  throw new InvalidArgumentError('expected accepted, fsynced or replicated:<n>, n from 1 to 99');
}

function httpUrl(text: string): string {
  if (/^https?:\/\/[^/\s]+\/?$/.test(text) && URL.canParse(text)) return text;
  throw new InvalidArgumentError('expected a URL such as http://localhost:7200');
}

/** Command line options of the benches: every bench has `--json`, the others are declared. */
import { parseArgs } from 'node:util';

interface Option<Value> {
  readonly type: 'string' | 'boolean';
  readonly fallback: Value;
  /** Undefined for text that the option does not accept. */
  parse(text: string): Value | undefined;
  /** The accepted values, for the error message. */
  readonly expected: string;
}

type Values<Options> = {
  readonly [Name in keyof Options]: Options[Name] extends Option<infer Value> ? Value : never;
};

/** A number from `min` to `max`. */
export function number(fallback: number, min = 1, max = Infinity): Option<number> {
  return {
    type: 'string',
    fallback,
    parse(text) {
      const value = Number(text);
      return value >= min && value <= max ? value : undefined;
    },
    expected: max === Infinity ? `a number from ${min}` : `a number from ${min} to ${max}`,
  };
}

export function oneOf<Name extends string>(names: readonly Name[], fallback: Name): Option<Name> {
  return {
    type: 'string',
    fallback,
    parse: (text) => names.find((name) => name === text),
    expected: `one of ${names.join(', ')}`,
  };
}

/** Some of the names, separated by commas; all by default. */
export function someOf<Name extends string>(names: readonly Name[]): Option<readonly Name[]> {
  return {
    type: 'string',
    fallback: names,
    parse(text) {
      const chosen = text.split(',').map((part) => names.find((name) => name === part));
      return chosen.includes(undefined) ? undefined : (chosen as Name[]);
    },
    expected: `some of ${names.join(',')}`,
  };
}

export function flag(): Option<boolean> {
  return { type: 'boolean', fallback: false, parse: () => true, expected: 'no value' };
}

/** Whether a flag is given, for the defaults of options that depend on it. */
export function isGiven(name: string): boolean {
  return process.argv.includes(`--${name}`);
}

/** @throws Error on an unknown option or a value that its option does not accept */
export function parseOptions<Options extends Readonly<Record<string, Option<unknown>>>>(
  options: Options,
): Values<Options> & { readonly json: boolean } {
  const all: Record<string, Option<unknown>> = { ...options, json: flag() };
  const types = Object.entries(all).map(([name, { type }]) => [name, { type }] as const);
  const given = parseArgs({ options: Object.fromEntries(types) }).values;
  const values = Object.entries(all).map(([name, option]) => {
    const text = given[name];
    if (text === undefined) return [name, option.fallback];
    const value = option.parse(String(text));
    if (value === undefined) throw new Error(`--${name} ${text}: expected ${option.expected}`);
    return [name, value];
  });
  return Object.fromEntries(values);
}

/**
 * JSON objects of callers (RFC 8259), without what parsers read differently: a name that occurs
 * twice, at any depth, bytes that are not UTF-8, and deep nesting are rejected.
 */
import { isUtf8 } from 'node:buffer';
import { type Rejection, rejection } from '../process/errors.js';

const DEPTH_MAX = 100;
/** Maximum length of a message of `JSON.parse`, which repeats some of the text. */
const REASON_LENGTH_MAX = 200;
const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];
const [OBJECT_START, OBJECT_END, ARRAY_START, ARRAY_END] = [0x7b, 0x7d, 0x5b, 0x5d];

export interface StrictJson {
  readonly value: Readonly<Record<string, unknown>>;
  /** Text of the value of the kept member, as it was received; undefined if it is absent. */
  readonly kept: string | undefined;
}

/** @param keep name of a member whose text is kept, as numbers may not survive being parsed */
export function parseStrictJson(bytes: Buffer, keep?: string): StrictJson | Rejection {
  if (!isUtf8(bytes)) return malformed('the JSON is not UTF-8');
  const text = bytes.toString();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return malformed(`this is not JSON: ${(error as Error).message.slice(0, REASON_LENGTH_MAX)}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return malformed('expected a JSON object');
  }
  const scanned = new Scanner(text, keep).scan();
  if ('code' in scanned) return scanned;
  return { value: value as Record<string, unknown>, kept: scanned.kept };
}

/** Walks through text that is valid JSON. */
class Scanner {
  #at = 0;
  /** Names of each open object; undefined for an array. */
  readonly #open: (Set<string> | undefined)[] = [];
  #isNameNext = false;
  /** Start of the value of the kept member, while the scanner is in it. */
  #keptFrom: number | undefined;
  #kept: string | undefined;

  constructor(
    readonly text: string,
    readonly keep: string | undefined,
  ) {}

  scan(): Pick<StrictJson, 'kept'> | Rejection {
    for (; this.#at < this.text.length; this.#at++) {
      const rejected = this.#step(this.text.charCodeAt(this.#at));
      if (rejected !== undefined) return rejected;
    }
    return { kept: this.#kept };
  }

  #step(code: number): Rejection | undefined {
    switch (code) {
      case QUOTE:
        return this.#readString();
      case OBJECT_START:
      case ARRAY_START:
        this.#isNameNext = code === OBJECT_START;
        this.#open.push(this.#isNameNext ? new Set() : undefined);
        return this.#open.length > DEPTH_MAX
          ? malformed(`the JSON is nested more than ${DEPTH_MAX} deep`)
          : undefined;
      case COMMA:
        this.#endKept();
        this.#isNameNext = this.#open.at(-1) !== undefined;
        return undefined;
      case OBJECT_END:
      case ARRAY_END:
        this.#endKept();
        this.#open.pop();
        return undefined;
      default:
        return undefined;
    }
  }

  #readString(): Rejection | undefined {
    const start = this.#at;
    this.#at = stringEnd(this.text, start);
    if (!this.#isNameNext) return undefined;
    this.#isNameNext = false;
    const quoted = this.text.slice(start, this.#at + 1);
    const name: string = quoted.includes('\\') ? JSON.parse(quoted) : quoted.slice(1, -1);
    const names = this.#open.at(-1)!;
    if (names.has(name)) return malformed(`${quoted.slice(0, REASON_LENGTH_MAX)} occurs twice`);
    names.add(name);
    if (name === this.keep && this.#open.length === 1) {
      while (this.text.charCodeAt(this.#at) !== COLON) this.#at++;
      this.#keptFrom = this.#at + 1;
    }
    return undefined;
  }

  #endKept(): void {
    if (this.#keptFrom === undefined || this.#open.length > 1) return;
    this.#kept = this.text.slice(this.#keptFrom, this.#at).trim();
    this.#keptFrom = undefined;
  }
}

/** Index of the quote that ends the string at `start`. */
function stringEnd(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (isEscaped(text, end)) end = text.indexOf('"', end + 1);
  return end;
}

function isEscaped(text: string, at: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes++;
  return backslashes % 2 === 1;
}

function malformed(message: string): Rejection {
  return rejection('REQUEST_MALFORMED', message);
}

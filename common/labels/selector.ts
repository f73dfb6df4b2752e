/**
 * Label selectors with the syntax and the meaning of Kubernetes'
 * (`k8s.io/apimachinery/pkg/labels`):
 *
 *   app=ios, version!=5.1          equal, not equal or absent; `==` is `=`
 *   region in (eu, us), app notin (web)
 *   beta, !beta                    present, absent
 *
 * Requirements are separated by commas, and all must hold; an empty selector selects everything.
 * `<` and `>` are not supported. test/common/labels has vectors from Kubernetes' own code. Pure.
 */
import { type Rejection, rejection } from '../process/errors.js';
import { type Labels, labelNameProblem, labelValueProblem } from './labels.js';

/**
 * Bounded, because each message of a broadcast carries the selector, and every process parses it.
 */
const SELECTOR_LENGTH_MAX = 4_096;

interface Requirement {
  readonly name: string;
  /** Values of which the label must have one; null: any. */
  readonly values: ReadonlySet<string> | null;
  /** Whether the requirement holds exactly when the label is absent or has another value. */
  readonly isNegated: boolean;
}

export type Selector = readonly Requirement[];

export function parseSelector(text: string): Selector | Rejection {
  if (text.length > SELECTOR_LENGTH_MAX) {
    const message = `the selector has ${text.length} characters; the maximum is ${SELECTOR_LENGTH_MAX}`;
    return rejection('SELECTOR_INVALID', message);
  }
  try {
    return new Parser(text).parse();
  } catch (error) {
    if (error instanceof SyntaxFault) return rejection('SELECTOR_INVALID', error.message);
    throw error;
  }
}

export function matches(selector: Selector, labels: Labels): boolean {
  return selector.every(({ name, values, isNegated }) => {
    const value = labels.get(name);
    const holds = value !== undefined && (values === null || values.has(value));
    return holds !== isNegated;
  });
}

class SyntaxFault extends Error {}

/** One of `= == != ! ( ) , < >`, a word, or '' at the end. */
interface Token {
  readonly text: string;
  readonly isWord: boolean;
  /** From 0. */
  readonly at: number;
}

const TOKEN = /[ \t\r\n]*(==|!=|[=!(),<>]|([^ \t\r\n=!(),<>]+)|$)/y;

class Parser {
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(text: string) {
    this.#tokens = tokensOf(text);
  }

  parse(): Selector {
    const requirements: Requirement[] = [];
    if (this.#is('')) return requirements;
    for (;;) {
      requirements.push(this.#requirement());
      if (this.#take('')) return requirements;
      this.#expect(',', 'a comma or the end');
    }
  }

  #requirement(): Requirement {
    const isNegated = this.#take('!');
    const name = this.#word(labelNameProblem, isNegated ? 'a label name' : 'a label name or !');
    if (isNegated || this.#is('') || this.#is(',')) return { name, values: null, isNegated };
    if (this.#take('=') || this.#take('==')) return this.#equal(name, false);
    if (this.#take('!=')) return this.#equal(name, true);
    if (this.#take('in')) return { name, values: this.#list(), isNegated: false };
    if (this.#take('notin')) return { name, values: this.#list(), isNegated: true };
    return this.#fail('=, ==, !=, in, notin, a comma or the end');
  }

  #equal(name: string, isNegated: boolean): Requirement {
    const isEmpty = this.#is('') || this.#is(',');
    const value = isEmpty ? '' : this.#word(labelValueProblem, 'a label value');
    return { name, values: new Set([value]), isNegated };
  }

  /** A value may be empty: `()` has one, and `(a,)` has two. */
  #list(): Set<string> {
    this.#expect('(', 'an opening parenthesis');
    const values = new Set<string>();
    for (;;) {
      const isEmpty = this.#is(',') || this.#is(')');
      values.add(isEmpty ? '' : this.#word(labelValueProblem, 'a label value'));
      if (this.#take(')')) return values;
      this.#expect(',', 'a comma or a closing parenthesis');
    }
  }

  #word(problemOf: (text: string) => string | undefined, expected: string): string {
    const { text, isWord } = this.#token;
    if (!isWord) return this.#fail(expected);
    const problem = problemOf(text);
    if (problem !== undefined) throw new SyntaxFault(`${this.#position}: ${problem}`);
    this.#next++;
    return text;
  }

  #is(text: string): boolean {
    return this.#token.text === text;
  }

  #take(text: string): boolean {
    if (!this.#is(text)) return false;
    this.#next++;
    return true;
  }

  #expect(text: string, description: string): void {
    if (!this.#take(text)) this.#fail(description);
  }

  #fail(expected: string): never {
    const { text } = this.#token;
    const found = text === '' ? 'the end' : JSON.stringify(text.slice(0, 80));
    throw new SyntaxFault(`${this.#position}: expected ${expected}, found ${found}`);
  }

  get #token(): Token {
    return this.#tokens[Math.min(this.#next, this.#tokens.length - 1)]!;
  }

  get #position(): string {
    return `the selector at character ${this.#token.at + 1}`;
  }
}

/** The last token is the end. */
function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  for (;;) {
    const [, found, word] = TOKEN.exec(text)!;
    tokens.push({
      text: found!,
      isWord: word !== undefined,
      at: TOKEN.lastIndex - found!.length,
    });
    if (found === '') return tokens;
  }
}

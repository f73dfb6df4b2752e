/**
 * The different sets of labels that connections of this edge carry. Each is kept once, for as long
 * as a connection has it, and has a number from 1. A selector is evaluated once for each set, and
 * its results are kept for the next messages of the same broadcast.
 */
import { type Labels, readLabelsText } from '../../common/labels/labels.js';
import { matches, parseSelector, type Selector } from '../../common/labels/selector.js';

interface LabelSet {
  readonly key: string;
  /** Labels of the token, which a ticket repeats, and of the query, which a redirect repeats. */
  readonly claims: string;
  readonly query: string;
  /** Both; a label of the token goes before one of the query with the same name. */
  readonly labels: Labels;
  connections: number;
}

/** Selectors whose results are kept; beyond it, the least recently used is dropped. */
const SELECTORS_MAX = 8;

const [UNEVALUATED, NO, YES] = [0, 1, 2] as const;

interface Evaluated {
  readonly selector: Selector;
  /** By the number of the set. */
  readonly results: Uint8Array;
}

export class LabelSets {
  readonly #numbers = new Map<string, number>();
  /** By number; undefined for 0 and for free numbers. */
  readonly #sets: (LabelSet | undefined)[] = [undefined];
  readonly #free: number[] = [];
  /** By selector, the least recently used first. */
  readonly #evaluated = new Map<string, Evaluated>();

  constructor(readonly countMax: number) {}

  get count(): number {
    return this.#numbers.size;
  }

  /** Adds a connection to a set. Returns its number; undefined: there are too many sets. */
  add(claims: string, query: string): number | undefined {
    // The text of labels has no spaces.
    const key = `${claims} ${query}`;
    const known = this.#numbers.get(key);
    if (known !== undefined) {
      this.#sets[known]!.connections++;
      return known;
    }
    if (this.count >= this.countMax) return undefined;
    const number = this.#free.pop() ?? this.#sets.length;
    const labels = new Map([...readLabelsText(query), ...readLabelsText(claims)]);
    this.#sets[number] = { key, claims, query, labels, connections: 1 };
    this.#numbers.set(key, number);
    return number;
  }

  /** Removes a connection from a set. */
  remove(number: number): void {
    const set = this.#sets[number]!;
    if (--set.connections > 0) return;
    this.#numbers.delete(set.key);
    this.#sets[number] = undefined;
    this.#free.push(number);
    for (const { results } of this.#evaluated.values()) results[number] = UNEVALUATED;
  }

  find(number: number): Pick<LabelSet, 'claims' | 'query' | 'labels'> | undefined {
    return this.#sets[number];
  }

  /** Whether the sets of these numbers match; undefined: the selector is invalid. */
  evaluate(selectorText: string): ((number: number) => boolean) | undefined {
    const evaluated = this.#evaluatedOf(selectorText);
    if (evaluated === undefined) return undefined;
    const { selector, results } = evaluated;
    return (number) => {
      if (results[number] === UNEVALUATED) {
        const labels = this.#sets[number]?.labels ?? NO_LABELS;
        results[number] = matches(selector, labels) ? YES : NO;
      }
      return results[number] === YES;
    };
  }

  #evaluatedOf(text: string): Evaluated | undefined {
    const known = this.#evaluated.get(text);
    this.#evaluated.delete(text);
    const selector = known?.selector ?? parseSelector(text);
    if ('code' in selector) return undefined;
    const evaluated = known ?? { selector, results: new Uint8Array(this.countMax + 1) };
    this.#evaluated.set(text, evaluated);
    if (this.#evaluated.size > SELECTORS_MAX) {
      const [oldest] = this.#evaluated.keys();
      this.#evaluated.delete(oldest!);
    }
    return evaluated;
  }
}

const NO_LABELS: Labels = new Map();

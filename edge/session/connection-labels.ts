/**
 * The labels of each connection: two bytes by slot, the number of its set (label-sets.ts). The
 * array exists only once a connection has labels.
 *
 * Bound: `setsMax` different sets. A connection with one more is served, and its labels are
 * unknown: no selector selects it, the reply to a broadcast counts it, and it gets no resume
 * ticket, which would have to repeat them.
 */
import type { Counter } from 'prom-client';
import type { Verified } from '../../common/auth/authenticator.js';
import { labelsText, parseLabels } from '../../common/labels/labels.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Metrics } from '../../common/process/metrics.js';
import { ensureSlot } from '../../common/transport/slot-arrays.js';
import { type Connection, slotOf } from '../../common/transport/transport.js';
import { LabelSets } from './label-sets.js';

/** Maximum of `setsMax`. */
export const LABEL_SETS_MAX = 65_534;
const NONE = 0;
const UNKNOWN = 65_535;

/** An authenticated device, with the labels that its query sets, as `labelsText` writes them. */
export interface Admitted extends Verified {
  readonly queryLabels: string;
}

/** The connections of a broadcast, by a selector. */
export interface Selected {
  readonly connections: readonly Connection[];
  readonly notSelected: number;
  readonly labelsUnknown: number;
}

export class ConnectionLabels {
  readonly #sets: LabelSets;
  /** By slot: `NONE`, the number of a set, or `UNKNOWN`. */
  #numbers = new Uint16Array(0);
  #labelled = 0;
  readonly #overflows: Counter;
  readonly #selections: Counter;

  /** @param queryNames labels that a query may set */
  constructor(
    setsMax: number,
    readonly queryNames: readonly string[],
    metrics: Metrics,
  ) {
    this.#sets = new LabelSets(setsMax);
    metrics.gauge(
      'longline_edge_label_sets',
      'Different sets of labels that connections have',
      () => this.#sets.count,
    );
    metrics.gauge(
      'longline_edge_connections_labelled',
      'Connections with labels',
      () => this.#labelled,
    );
    this.#overflows = metrics.counter(
      'longline_edge_label_sets_over_limit_total',
      'Connections whose labels are not known because there were too many different sets',
    );
    this.#selections = metrics.counter(
      'longline_edge_broadcasts_selected_total',
      'Messages of broadcasts with a label selector, each for some shards',
    );
  }

  get bytes(): number {
    return this.#numbers.byteLength;
  }

  /** Reads the labels of a query, and returns them as `labelsText` writes them. */
  readQuery(text: string | undefined): string | Rejection {
    if (text === undefined) return '';
    const labels = parseLabels(text);
    if ('code' in labels) return labels;
    for (const name of labels.keys()) {
      if (this.queryNames.includes(name)) continue;
      const message = `the query may not set the label ${name}; see LONGLINE_EDGE_QUERY_LABELS`;
      return rejection('LABELS_INVALID', message);
    }
    return labelsText(labels);
  }

  /**
   * Sets the labels of a connection without any.
   * @param claims labels of the token
   */
  set(connection: Connection, claims: string, query: string): void {
    if (claims === '' && query === '') return;
    const slot = slotOf(connection);
    this.#numbers = ensureSlot(this.#numbers, slot);
    const number = this.#sets.add(claims, query);
    if (number === undefined) this.#overflows.inc();
    this.#numbers[slot] = number ?? UNKNOWN;
    this.#labelled++;
  }

  /**
   * Replaces the labels of the token; unknown ones stay unknown, because those of the query are.
   */
  renew(connection: Connection, claims: string): void {
    if (this.#numberOf(connection) === UNKNOWN) return;
    const query = this.queryOf(connection);
    this.forget(connection);
    this.set(connection, claims, query);
  }

  forget(connection: Connection): void {
    const number = this.#numberOf(connection);
    if (number === NONE) return;
    this.#numbers[slotOf(connection)] = NONE;
    this.#labelled--;
    if (number !== UNKNOWN) this.#sets.remove(number);
  }

  /** Labels of the token, '' for none; undefined: they are unknown. */
  claimsOf(connection: Connection): string | undefined {
    const number = this.#numberOf(connection);
    return number === UNKNOWN ? undefined : (this.#sets.find(number)?.claims ?? '');
  }

  /** Labels of the query; '' also if they are unknown. */
  queryOf(connection: Connection): string {
    return this.#sets.find(this.#numberOf(connection))?.query ?? '';
  }

  /** All labels, as `labelsText` writes them; '': there are none, or they are unknown. */
  textOf(connection: Connection): string {
    const set = this.#sets.find(this.#numberOf(connection));
    return set === undefined ? '' : labelsText(set.labels);
  }

  /** An empty selector selects all. Returns undefined for one that cannot be parsed. */
  select(selector: string, connections: readonly Connection[]): Selected | undefined {
    if (selector === '') return { connections, notSelected: 0, labelsUnknown: 0 };
    const isMatch = this.#sets.evaluate(selector);
    if (isMatch === undefined) return undefined;
    this.#selections.inc();
    const selected: Connection[] = [];
    let notSelected = 0;
    let labelsUnknown = 0;
    for (const connection of connections) {
      const number = this.#numberOf(connection);
      if (number === UNKNOWN) labelsUnknown++;
      else if (isMatch(number)) selected.push(connection);
      else notSelected++;
    }
    return { connections: selected, notSelected, labelsUnknown };
  }

  #numberOf(connection: Connection): number {
    return this.#numbers[slotOf(connection)] ?? NONE;
  }
}

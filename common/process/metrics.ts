/**
 * Metrics of one process, named `longline_<role>_<subject>_<unit>`. Label values never come from
 * clientIds or other input of clients, which would make their number unbounded.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { buildInfo } from './build-info.js';

export class Metrics {
  readonly registry = new Registry();

  constructor() {
    collectDefaultMetrics({ register: this.registry });
    this.info(
      'longline_build_info',
      'Version of the process, release of Node.js and git commit; the value is always 1',
      ['version', 'node', 'commit'],
      buildInfo,
    );
  }

  counter<Label extends string = never>(
    name: string,
    help: string,
    labelNames: readonly Label[] = [],
  ): Counter<Label> {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  /** Registers a counter whose total is kept elsewhere and read at each scrape. */
  total(name: string, help: string, read: () => number): void {
    new Counter({
      name,
      help,
      registers: [this.registry],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  }

  /** The same with one child per label value that `read` returns. */
  totals(
    name: string,
    help: string,
    label: string,
    read: () => Iterable<readonly [value: string, total: number]>,
  ): void {
    new Counter({
      name,
      help,
      labelNames: [label],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const [value, total] of read()) this.inc({ [label]: value }, total);
      },
    });
  }

  /** Registers a gauge that is read at each scrape; it has no sample while `read` is undefined. */
  gauge(name: string, help: string, read: () => number | undefined): void {
    new Gauge({
      name,
      help,
      registers: [this.registry],
      collect() {
        const value = read();
        if (value === undefined) this.remove();
        else this.set(value);
      },
    });
  }

  /** Registers a gauge with one child per label value that `read` returns at the scrape. */
  gauges(
    name: string,
    help: string,
    label: string,
    read: () => Iterable<readonly [value: string, number: number]>,
  ): void {
    new Gauge({
      name,
      help,
      labelNames: [label],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const [value, number] of read()) this.set({ [label]: value }, number);
      },
    });
  }

  /** Registers a gauge that is always 1 and says something by its labels. */
  info<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    values: Readonly<Record<Label, string>>,
  ): void {
    new Gauge({ name, help, labelNames, registers: [this.registry] }).set({ ...values }, 1);
  }

  histogram(name: string, help: string, buckets: readonly number[]): Histogram {
    return new Histogram({ name, help, buckets: [...buckets], registers: [this.registry] });
  }
}

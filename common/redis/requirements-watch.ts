/**
 * Checks the requirements on every master while the process runs: a setting can change, and a
 * failover can promote a server that was set up differently. One INFO and one CONFIG GET per master
 * every few seconds. An unmet requirement is logged once per change, and is a reason in the details
 * of readiness and a metric; it ends no connection and rejects nothing.
 *
 * Evicted keys are counted too: a stored push that was evicted is lost without an error.
 */
import { performance } from 'node:perf_hooks';
import type { Counter } from 'prom-client';
import type { Logger } from '../process/log.js';
import type { Metrics } from '../process/metrics.js';
import type { Readiness } from '../process/readiness.js';
import { unixMs } from '../process/time/clock.js';
import {
  type ClockOffset,
  type ClockReading,
  measureOffset,
} from '../process/time/clock-offset.js';
import type { CommandArgs } from './command-buffer.js';
import type { Outcome } from './execute.js';
import {
  findUnmet,
  REQUIREMENTS,
  type Required,
  type Requirement,
  readFacts,
  SETTINGS_READ,
  type ServerFacts,
  type Unmet,
} from './requirements.js';

const INTERVAL_MS = 2_000;
/** Errors of a server on which CONFIG GET is forbidden or renamed. */
const CONFIG_HIDDEN = /^(?:NOPERM|ERR) /;

export interface RequirementsWatchOptions {
  readonly masters: () => readonly string[];
  /** Runs a command on one master; undefined while there is no connection to it. */
  readonly run: (
    master: string,
    command: string,
    args: CommandArgs,
  ) => Promise<Outcome<unknown>> | undefined;
  readonly required: Omit<Required, 'hadAppendOnlyFile'>;
  /** Called with the Unix time of a server, and when it was asked, in ms of the monotonic clock. */
  readonly onTime: (serverMs: number, askedAtMs: number) => void;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** The newest reading of one master. */
interface Reading {
  readonly facts: ServerFacts;
  /** Undefined: the server does not say its time. */
  readonly clock: ClockOffset | undefined;
  /** The same by the monotonic clock. */
  readonly time: ClockReading | undefined;
  readonly unmet: readonly Unmet[];
  /** When the reading began, in ms of the monotonic clock. */
  readonly atMs: number;
  /** CONFIG GET fails on this server, and is not tried again before it restarts. */
  readonly isConfigHidden: boolean;
}

export class RequirementsWatch {
  /** By master. */
  readonly #readings = new Map<string, Reading>();
  readonly #evicted: Counter<'master'>;
  #hadAppendOnlyFile = false;
  #timer: NodeJS.Timeout | undefined;
  #polling: Promise<void> | undefined;

  /**
   * A master has evicted keys; to be set by a process that tells devices.
   * @param sinceMs none before this time, in ms of the monotonic clock; undefined: at any time
   *   before this process started
   * @param cause equal for all processes that have read the same number
   */
  onEvicted: (master: string, sinceMs: number | undefined, cause: string) => void = () => {};

  constructor(readonly options: RequirementsWatchOptions) {
    const { metrics } = options;
    this.#evicted = metrics.counter(
      'longline_redis_evicted_keys_total',
      'Keys evicted by each master of Redis: stored pushes that were lost without an error',
      ['master'],
    );
    metrics.gauges(
      'longline_redis_requirement_unmet',
      'Masters of Redis that do not meet a requirement, by requirement',
      'requirement',
      () => REQUIREMENTS.map((requirement) => [requirement, this.#countUnmet(requirement)]),
    );
    metrics.gauges(
      'longline_redis_clock_offset_seconds',
      'Clock of each master of Redis minus the clock of this process',
      'master',
      () =>
        [...this.#readings].flatMap(([master, { clock }]) =>
          clock === undefined ? [] : [[master, clock.offsetMs / 1_000] as const],
        ),
    );
  }

  start(): void {
    this.#timer = setInterval(() => {
      if (this.#polling === undefined) void this.poll();
    }, INTERVAL_MS);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Reads every master once, after a reading in progress. */
  async poll(): Promise<void> {
    await this.#polling;
    this.#polling ??= this.#readAll().finally(() => {
      this.#polling = undefined;
    });
    await this.#polling;
  }

  async #readAll(): Promise<void> {
    const masters = this.options.masters();
    for (const master of this.#readings.keys()) {
      if (masters.includes(master)) continue;
      this.#readings.delete(master);
      // Its number is read whole when it is a master again.
      this.#evicted.remove({ master });
    }
    await Promise.all(masters.map((master) => this.#read(master)));
  }

  /** An unmet requirement does not make a process unready: it serves what Redis permits. */
  readiness(): Readiness {
    return { notReady: [], degraded: this.unmetReasons() };
  }

  /** One reason for each requirement that a master does not meet. */
  unmetReasons(): string[] {
    return [...this.#readings].flatMap(([master, { unmet }]) =>
      unmet.map(({ reason }) => `Redis ${master}: ${reason}`),
    );
  }

  /** That of the master whose clock differs most from this machine's. Undefined: unknown. */
  get largestClockOffset(): ClockOffset | undefined {
    const offsets = [...this.#readings.values()].flatMap(({ clock }) => clock ?? []);
    const size = ({ offsetMs }: ClockOffset) => Math.abs(offsetMs);
    return offsets.reduce<ClockOffset | undefined>(
      (largest, one) => (largest === undefined || size(one) > size(largest) ? one : largest),
      undefined,
    );
  }

  /** The clock of a master. Undefined: unknown. */
  clockOf(master: string): ClockReading | undefined {
    return this.#readings.get(master)?.time;
  }

  async #read(master: string): Promise<void> {
    const { run, required } = this.options;
    const former = this.#readings.get(master);
    const atMs = performance.now();
    const info = await run(master, 'info', []);
    // Without an answer the last reading stays: other checks report that the master is away.
    if (info?.type !== 'done') return;
    const roundTripMs = performance.now() - atMs;
    const facts = readFacts(String(info.reply), []);
    const { timeMs } = facts;
    if (timeMs !== undefined) this.options.onTime(timeMs, atMs);
    const clock = timeMs === undefined ? undefined : measureOffset(timeMs, roundTripMs, unixMs());
    const halfMs = roundTripMs / 2;
    const time =
      timeMs === undefined ? undefined : { serverMs: timeMs, atMs: atMs + halfMs, errorMs: halfMs };
    const isSameRun = former !== undefined && former.facts.runId === facts.runId;
    let isConfigHidden = isSameRun && former.isConfigHidden;
    let settings: readonly string[] = [];
    if (!isConfigHidden) {
      const config = await run(master, 'config', ['get', ...SETTINGS_READ]);
      if (config?.type === 'done') settings = config.reply as string[];
      else if (config !== undefined && CONFIG_HIDDEN.test(config.reason)) isConfigHidden = true;
      else return;
    }
    const complete = { ...facts, settings: readFacts('', settings).settings };
    if (facts.hasAppendOnlyFile) this.#hadAppendOnlyFile = true;
    const hadAppendOnlyFile = this.#hadAppendOnlyFile;
    const unmet = findUnmet(complete, { ...required, hadAppendOnlyFile }, clock);
    this.#readings.set(master, { facts: complete, clock, time, unmet, atMs, isConfigHidden });
    this.#logChanges(master, former?.unmet ?? [], unmet);
    this.#countEvicted(master, facts, former, isSameRun);
  }

  #countEvicted(
    master: string,
    { evictedKeys, runId }: ServerFacts,
    former: Reading | undefined,
    isSameRun: boolean,
  ): void {
    const before = isSameRun ? former!.facts.evictedKeys : 0;
    // A lower number follows CONFIG RESETSTAT.
    const grown = evictedKeys < before ? evictedKeys : evictedKeys - before;
    this.#evicted.inc({ master }, grown);
    if (grown === 0) return;
    this.options.log.warn(
      { redis: master, evicted: grown },
      'Redis has evicted keys: stored pushes are lost',
    );
    this.onEvicted(master, former?.atMs, `evicted:${runId}:${evictedKeys}`);
  }

  #logChanges(master: string, before: readonly Unmet[], now: readonly Unmet[]): void {
    const { log } = this.options;
    for (const requirement of REQUIREMENTS) {
      const [was] = before.filter((unmet) => unmet.requirement === requirement);
      const [is] = now.filter((unmet) => unmet.requirement === requirement);
      if (is?.reason === was?.reason) continue;
      const context = { redis: master, requirement };
      if (is === undefined) log.info(context, 'a requirement on Redis is met again');
      else log.warn({ ...context, reason: is.reason }, 'a requirement on Redis is not met');
    }
  }

  #countUnmet(requirement: Requirement): number {
    let count = 0;
    for (const { unmet } of this.#readings.values()) {
      if (unmet.some((each) => each.requirement === requirement)) count++;
    }
    return count;
  }
}

/**
 * The requirements of Longline on a Redis server, judged from the server's own replies (INFO and
 * CONFIG GET). Pure. CONFIG may be forbidden or renamed in a managed Redis; then only INFO counts,
 * and a setting that cannot be read is not assumed to be wrong.
 */

import { type ClockOffset, describeOffset, isWrong } from '../process/time/clock-offset.js';

/** Sharded pub/sub was added in 7.0. */
export const MAJOR_VERSION_MIN = 7;

/** Below this, one large message ends the connection of a subscriber. */
export const SUBSCRIBER_BUFFER_BYTES_MIN = 1024 * 1024;

/** In the order in which they are reported; also the labels of the metric. */
export const REQUIREMENTS = [
  'version',
  'eviction',
  'persistence',
  'fsynced',
  'subscriber-buffer',
  'clock',
] as const;
export type Requirement = (typeof REQUIREMENTS)[number];

/** The settings that together make a reply mean "on disk". */
export const FSYNCED_SETTINGS: Readonly<Record<string, string>> = {
  appendonly: 'yes',
  appendfsync: 'always',
  'no-appendfsync-on-rewrite': 'no',
};

const SUBSCRIBER_BUFFER = 'client-output-buffer-limit';

/** All settings that are read with CONFIG GET. */
export const SETTINGS_READ: readonly string[] = [
  ...Object.keys(FSYNCED_SETTINGS),
  SUBSCRIBER_BUFFER,
];

export interface ServerFacts {
  readonly version: string;
  /** Unique per start of the server. */
  readonly runId: string;
  /** Undefined: the server does not say. */
  readonly maxmemoryPolicy: string | undefined;
  readonly maxmemoryBytes: number | undefined;
  readonly hasAppendOnlyFile: boolean | undefined;
  /** False: the last write of the append-only file failed. */
  readonly isAppendOnlyFileWritten: boolean;
  /** Unix time by the clock of the server; undefined: the server does not say. */
  readonly timeMs: number | undefined;
  /** Keys evicted since the server started, or since CONFIG RESETSTAT. */
  readonly evictedKeys: number;
  /** By name; empty if CONFIG cannot be used. */
  readonly settings: ReadonlyMap<string, string>;
}

/** Requirements of this process in particular. */
export interface Required {
  /** The evicting policy that is accepted; undefined: none. */
  readonly evictionAccepted: string | undefined;
  /** The default accept level is `fsynced`. */
  readonly isFsynced: boolean;
  /** A master has had an append-only file since this process started. */
  readonly hadAppendOnlyFile: boolean;
}

/** A requirement that a server does not meet. */
export interface Unmet {
  readonly requirement: Requirement;
  /** The problem, and the remedy. */
  readonly reason: string;
}

/** @param settings reply to CONFIG GET: names and values in turn */
export function readFacts(info: string, settings: readonly string[]): ServerFacts {
  const fields = parseInfo(info);
  const number = (name: string) => {
    const value = fields.get(name);
    return value === undefined ? undefined : Number(value);
  };
  const appendOnly = fields.get('aof_enabled');
  const timeMicroseconds = number('server_time_usec');
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < settings.length; i += 2) pairs.push([settings[i]!, settings[i + 1]!]);
  return {
    version: fields.get('redis_version') ?? 'unknown',
    runId: fields.get('run_id') ?? '',
    maxmemoryPolicy: fields.get('maxmemory_policy'),
    maxmemoryBytes: number('maxmemory'),
    hasAppendOnlyFile: appendOnly === undefined ? undefined : appendOnly === '1',
    isAppendOnlyFileWritten: fields.get('aof_last_write_status') !== 'err',
    timeMs: timeMicroseconds === undefined ? undefined : timeMicroseconds / 1_000,
    evictedKeys: number('evicted_keys') ?? 0,
    settings: new Map(pairs),
  };
}

export function parseInfo(text: string): Map<string, string> {
  return new Map(
    text.split('\r\n').flatMap((line) => {
      const colon = line.indexOf(':');
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const];
    }),
  );
}

/**
 * The requirements that a server does not meet, in the order of `REQUIREMENTS`.
 * @param clock undefined: the difference between the clocks is not known
 */
export function findUnmet(facts: ServerFacts, required: Required, clock?: ClockOffset): Unmet[] {
  const reasons: Record<Requirement, string | undefined> = {
    version: rejectVersion(facts.version),
    eviction: rejectPolicy(facts.maxmemoryPolicy, required.evictionAccepted),
    persistence: rejectPersistence(facts, required.hadAppendOnlyFile),
    fsynced: required.isFsynced ? rejectFsynced(facts.settings) : undefined,
    'subscriber-buffer': rejectSubscriberBuffer(facts.settings.get(SUBSCRIBER_BUFFER)),
    clock: clock && rejectClock(clock),
  };
  return REQUIREMENTS.flatMap((requirement) => {
    const reason = reasons[requirement];
    return reason === undefined ? [] : [{ requirement, reason }];
  });
}

/** Returns the error if `version` is too old. */
export function rejectVersion(version: string): string | undefined {
  if (Number.parseInt(version, 10) >= MAJOR_VERSION_MIN) return undefined;
  return `Redis is ${version}; sharded pub/sub needs ${MAJOR_VERSION_MIN}.0.0 or newer`;
}

/** @param accepted the evicting policy that is accepted; undefined: none */
export function rejectPolicy(
  policy: string | undefined,
  accepted: string | undefined,
): string | undefined {
  if (policy === undefined || policy === 'noeviction' || policy === accepted) return undefined;
  return (
    `maxmemory-policy is ${policy}, which deletes stored pushes without an error when memory is ` +
    `full; run CONFIG SET maxmemory-policy noeviction (and set it in redis.conf), or accept the ` +
    `loss with LONGLINE_REDIS_EVICTION_ACCEPTED=${policy}`
  );
}

/** The setting because of which a reply does not mean "on disk"; undefined if there is none. */
export function rejectFsynced(settings: ReadonlyMap<string, string>): string | undefined {
  for (const [name, required] of Object.entries(FSYNCED_SETTINGS)) {
    // A managed Redis may hide a setting: then its value is not assumed.
    const value = settings.get(name) ?? 'not readable';
    if (value !== required)
      return `${name} is ${value}; the accept level fsynced needs ${required}`;
  }
  return undefined;
}

function rejectPersistence(facts: ServerFacts, hadAppendOnlyFile: boolean): string | undefined {
  if (facts.hasAppendOnlyFile === false && hadAppendOnlyFile) {
    return 'there is no append-only file any more: a restart loses every stored push; run CONFIG SET appendonly yes';
  }
  if (facts.hasAppendOnlyFile && !facts.isAppendOnlyFileWritten) {
    return 'the append-only file cannot be written; free space on its disk';
  }
  return undefined;
}

function rejectClock(clock: ClockOffset): string | undefined {
  if (!isWrong(clock)) return undefined;
  return (
    `its clock is ${describeOffset(clock)} this machine's; synchronise both (NTP): tokens are checked ` +
    "by this machine's clock, and pushes expire by that of Redis"
  );
}

function rejectSubscriberBuffer(limits: string | undefined): string | undefined {
  const found = limits === undefined ? undefined : parseSubscriberBuffer(limits);
  if (found === undefined) return undefined;
  const limit = Math.min(...found.slice(0, 2).filter((bytes) => bytes > 0));
  if (limit >= SUBSCRIBER_BUFFER_BYTES_MIN) return undefined;
  return (
    `client-output-buffer-limit disconnects subscribers at ${limit} bytes, which one message can ` +
    'exceed; run CONFIG SET client-output-buffer-limit "pubsub 256mb 64mb 60"'
  );
}

/**
 * Limits of subscribers in `client-output-buffer-limit`, such as `… pubsub 33554432 8388608 60`:
 * hard, soft, seconds; 0: no limit.
 */
export function parseSubscriberBuffer(
  limits: string,
): readonly [hard: number, soft: number, seconds: number] | undefined {
  const found = limits.match(/pubsub (\d+) (\d+) (\d+)/);
  return found ? [Number(found[1]), Number(found[2]), Number(found[3])] : undefined;
}

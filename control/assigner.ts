/**
 * The assigner: keeps the assignment in Redis what the members call for. It is the only writer of
 * this process, and it does one thing after the other: read, adopt what is newer, plan, write by
 * compare-and-set. Whatever fails is tried again from the read, so nothing has to be undone.
 *
 * Invariants: an assignment is published only after Redis has it; positions that are published only
 * grow; a stored value that cannot be understood is never overwritten.
 */
import {
  type AssignedEdge,
  type Assignment,
  type Content,
  comparePositions,
  NO_OWNER,
  ORIGIN,
  type Position,
} from '../common/assignment.js';
import { backoffMs } from '../common/backoff.js';
import type { Logger } from '../common/log.js';
import type { Metrics } from '../common/metrics.js';
import { readAssignment, writeAssignment } from '../common/redis/assignment-store.js';
import type { RedisLink } from '../common/redis/redis-link.js';
import { Members } from './members.js';
import { type EdgeRecord, isMember } from './membership.js';
import { placeShards } from './placement.js';

/** How soon the write of another control is noticed, and that Redis has lost ours. */
const READ_INTERVAL_MS = 1_000;

export interface AssignerOptions {
  readonly link: Pick<RedisLink, 'commands'>;
  readonly shardCount: number;
  readonly leaseMs: number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

interface Trouble {
  readonly type: 'unavailable' | 'garbage';
  readonly reason: string;
}

export class Assigner {
  readonly members: Members;
  readonly #commands: RedisLink['commands'];
  readonly #shardCount: number;
  readonly #log: Logger;
  readonly #counters: ReturnType<typeof createCounters>;
  readonly #watchers = new Set<(assignment: Assignment) => void>();
  #current: Assignment | undefined;
  #isRestored = false;
  #isReplanDue = false;
  /** Why the stored assignment cannot be read, used or written. */
  #trouble: Trouble | undefined = { type: 'unavailable', reason: 'it has not been read yet' };
  /** Rounds that failed since one succeeded. */
  #failures = 0;
  #isClosed = false;
  #endPause: () => void = () => {};

  constructor({ link, shardCount, leaseMs, log, metrics }: AssignerOptions) {
    this.#commands = link.commands;
    this.#shardCount = shardCount;
    this.#log = log;
    this.members = new Members(leaseMs, () => {
      this.#isReplanDue = true;
      // While Redis is away, the backoff decides when it is asked again.
      if (this.#failures === 0) this.#endPause();
    });
    this.#counters = createCounters(metrics);
    metrics.gauge(
      'longline_control_assignment_epoch',
      'Epoch of the newest assignment.',
      () => this.#current?.position.epoch ?? 0,
    );
    metrics.gauge('longline_control_shards_unowned', 'Shards without an owner.', () =>
      this.#current === undefined
        ? shardCount
        : this.#current.owners.filter((owner) => owner === NO_OWNER).length,
    );
    // What it throws is a bug, and ends the process.
    void this.#run();
  }

  get current(): Assignment | undefined {
    return this.#current;
  }

  /** Calls `onChange` with the current assignment, if any, and then with every newer one. */
  watch(onChange: (assignment: Assignment) => void): () => void {
    this.#watchers.add(onChange);
    if (this.#current !== undefined) onChange(this.#current);
    return () => this.#watchers.delete(onChange);
  }

  notReadyBecause(): string[] {
    if (this.#trouble === undefined) return [];
    return [`the stored assignment is ${this.#trouble.type}: ${this.#trouble.reason}`];
  }

  close(): void {
    this.#isClosed = true;
    this.#endPause();
  }

  async #run(): Promise<void> {
    while (!this.#isClosed) {
      const isDone = await this.#round();
      this.#failures = isDone ? 0 : this.#failures + 1;
      if (isDone) this.#recover();
      if (isDone && this.#isReplanDue) continue;
      await this.#pause(isDone ? READ_INTERVAL_MS : backoffMs(this.#failures, Math.random()));
    }
  }

  #pause(pauseMs: number): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, pauseMs);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Returns false when Redis is away or has garbage, and the round has to be tried again. */
  async #round(): Promise<boolean> {
    const result = await readAssignment(this.#commands, this.#shardCount);
    if (result.type === 'unavailable' || result.type === 'garbage') {
      return this.#fail(result);
    }
    const stored = result.type === 'assignment' ? result.assignment : undefined;
    if (stored !== undefined && isNewer(stored, this.#current?.position)) this.#publish(stored);
    if (!this.#isRestored) {
      this.#isRestored = true;
      this.members.restore(stored?.edges ?? []);
    }
    return this.#write(stored?.position ?? ORIGIN);
  }

  /** Plans on top of `position`, which is what Redis has, and writes the plan if it says anything new. */
  async #write(position: Position): Promise<boolean> {
    const wasReplanDue = this.#isReplanDue;
    this.#isReplanDue = false;
    const next = this.#plan(position, wasReplanDue);
    if (next === undefined) return true;
    const result = await writeAssignment(this.#commands, next, position);
    switch (result.type) {
      case 'committed':
        this.#counters.replans.inc();
        this.#publish(next);
        return true;
      case 'lost':
        this.#counters.casLost.inc();
        this.#log.info({ position }, 'another control was faster, planning again');
        this.#isReplanDue ||= wasReplanDue;
        return true;
      case 'unavailable':
        this.#isReplanDue ||= wasReplanDue;
        return this.#fail(result);
    }
  }

  /**
   * The next assignment, or undefined when the stored one at `position` is right. If Redis has lost
   * writes, some process has an assignment that is newer than the stored one; only a higher
   * incarnation is newer than all that anybody has seen.
   */
  #plan(position: Position, isReplanDue: boolean): Assignment | undefined {
    const newestSeen = newest(this.members.newestSeen, this.#current?.position ?? ORIGIN);
    const hasLostWrites = comparePositions(newestSeen, position) > 0;
    if (!isReplanDue && !hasLostWrites) return undefined;
    const content = isReplanDue ? this.#place() : this.#current;
    if (content === undefined) return undefined;
    if (hasLostWrites) {
      this.#log.warn({ stored: position, newestSeen }, 'Redis has lost writes');
    } else if (this.#current !== undefined && isSame(content, this.#current)) {
      return undefined;
    }
    return {
      ...content,
      position: {
        incarnation: hasLostWrites ? newestSeen.incarnation + 1 : position.incarnation,
        epoch: Math.max(newestSeen.epoch, position.epoch) + 1,
      },
    };
  }

  /** Undefined when the last member has died meanwhile: there is nobody to give its shards to. */
  #place(): Content | undefined {
    const members = this.members.edges.filter(isMember);
    if (members.length === 0) return undefined;
    return {
      edges: members.map(({ id, incarnation, advertisedUrl }) => ({
        id,
        incarnation,
        advertisedUrl,
        intent: 'none',
      })),
      owners: placeShards(this.#current, members.map(requireCapacity), this.#shardCount),
      moves: [],
    };
  }

  #publish(assignment: Assignment): void {
    const { position, edges } = assignment;
    this.#log.info({ position, edges: edges.map((edge) => edge.id) }, 'assignment');
    this.#current = assignment;
    for (const watcher of this.#watchers) watcher(assignment);
  }

  /** Says once per trouble what it is; the last good assignment stays in force. */
  #fail(trouble: Trouble): false {
    const level = trouble.type === 'garbage' ? 'error' : 'warn';
    if (trouble.type !== this.#trouble?.type) {
      this.#log[level](trouble, 'the stored assignment cannot be used, keeping the last one');
    }
    if (trouble.type === 'garbage') this.#counters.garbageReads.inc();
    this.#trouble = trouble;
    return false;
  }

  #recover(): void {
    if (this.#trouble !== undefined) this.#log.info('the stored assignment is in order');
    this.#trouble = undefined;
  }
}

function createCounters(metrics: Metrics) {
  return {
    replans: metrics.counter('longline_control_replans_total', 'Assignments planned and written.'),
    casLost: metrics.counter(
      'longline_control_cas_lost_total',
      'Assignments not written because another control was faster.',
    ),
    garbageReads: metrics.counter(
      'longline_control_garbage_reads_total',
      'Times that the stored assignment could not be understood.',
    ),
  };
}

function isNewer(assignment: Assignment, than: Position = ORIGIN): boolean {
  return comparePositions(assignment.position, than) > 0;
}

function newest(a: Position, b: Position): Position {
  return comparePositions(a, b) > 0 ? a : b;
}

function isSame(a: Content, b: Content): boolean {
  return (
    a.edges.length === b.edges.length &&
    a.edges.every((edge, index) => isSameEdge(edge, b.edges[index]!)) &&
    a.owners.every((owner, shard) => owner === b.owners[shard])
  );
}

function isSameEdge(a: AssignedEdge, b: AssignedEdge): boolean {
  return a.id === b.id && a.incarnation === b.incarnation && a.advertisedUrl === b.advertisedUrl;
}

/** A plan is asked for only when every member has said hello or has had a lease's time to do so. */
function requireCapacity({ id, capacity }: EdgeRecord) {
  if (capacity === undefined) throw new Error(`the capacity of member ${id} is unknown`);
  return { id, capacity };
}

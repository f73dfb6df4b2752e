/**
 * The newest assignment received by this process, from the stream of control or, while that stream
 * is down, from Redis. An older assignment never replaces it.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Counter } from 'prom-client';
import type {
  AssignmentDelta,
  Assignment as Wire,
} from '../../proto/gen/longline/v1/assignment.js';
import type { Logger } from '../process/log.js';
import type { Metrics } from '../process/metrics.js';
import type { RedisLink } from '../redis/redis-link.js';
import { comparePositions, ORIGIN, type Position } from '../wire/position.js';
import { type Assignment, fromWire } from './assignment.js';
import { type AssignmentUpdate, applyDelta } from './assignment-delta.js';
import { readAssignment, readPosition } from './assignment-store.js';

const POLL_INTERVAL_MS = 2_000;

export class AssignmentFeed {
  #current: Assignment | undefined;
  readonly #misfits: Counter;

  /** @param onChange called with every newer assignment */
  constructor(
    readonly onChange: (assignment: Assignment) => void,
    metrics: Metrics,
    role: 'edge' | 'router',
  ) {
    metrics.gauge(
      `longline_${role}_assignment_epoch`,
      'Epoch of the newest assignment received',
      () => this.position.epoch,
    );
    this.#misfits = metrics.counter(
      `longline_${role}_assignment_deltas_rejected_total`,
      'Deltas from control that did not fit the assignment of this process, which then received the whole',
    );
  }

  get current(): Assignment | undefined {
    return this.#current;
  }

  get position(): Position {
    return this.#current?.position ?? ORIGIN;
  }

  /** Replaces the current assignment if this one is newer. */
  offer(assignment: Assignment): void {
    if (comparePositions(assignment.position, this.position) <= 0) return;
    this.#current = assignment;
    this.onChange(assignment);
  }

  /** The same for a message of control. Returns whether the whole assignment is needed. */
  offerUpdate({ assignment, delta }: AssignmentUpdate, shardCount: number, log: Logger): boolean {
    if (assignment !== undefined) this.#offerWire(assignment, shardCount, log);
    return delta !== undefined && !this.#offerDelta(delta, log);
  }

  /** Rejects and logs an invalid one. */
  #offerWire(wire: Wire, shardCount: number, log: Logger): void {
    const assignment = fromWire(wire, shardCount);
    if (typeof assignment === 'string')
      log.error({ reason: assignment }, 'rejected an invalid assignment');
    else this.offer(assignment);
  }

  /** Returns false if the delta does not fit. */
  #offerDelta(delta: AssignmentDelta, log: Logger): boolean {
    // It was read from Redis before.
    if (comparePositions(delta.position ?? ORIGIN, this.position) <= 0) return true;
    const next = this.#current === undefined ? 'there is none' : applyDelta(this.#current, delta);
    if (typeof next !== 'string') {
      this.offer(next);
      return true;
    }
    this.#misfits.inc();
    log.info({ reason: next, base: delta.base, have: this.position }, 'a delta does not fit');
    return false;
  }
}

/**
 * Reads the assignment from Redis once, and then polls it while the stream from control is down.
 * Resolves after the first read; polls until `signal` is aborted.
 */
export async function followRedis(
  feed: AssignmentFeed,
  link: RedisLink,
  shardCount: number,
  isLinked: () => boolean,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const readOnce = async () => {
    const result = await readAssignment(link, shardCount);
    if (result.type === 'assignment') feed.offer(result.assignment);
    else if (result.type === 'invalid' || result.type === 'corrupt') {
      log.error(
        { reason: result.reason },
        `the assignment in Redis is ${result.type}, keeping the current one`,
      );
    }
  };
  await readOnce();
  const isNewerStored = async () => {
    const stored = await readPosition(link);
    return stored === undefined || comparePositions(stored, feed.position) > 0;
  };
  const poll = async () => {
    while (!signal.aborted) {
      await sleep(POLL_INTERVAL_MS);
      if (!isLinked() && (await isNewerStored())) await readOnce();
    }
  };
  void poll();
}

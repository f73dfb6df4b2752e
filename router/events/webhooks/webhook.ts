/**
 * Sends the events of one webhook, for the partitions that this router has: batches of one
 * partition one after the other, so that the events of a client arrive in their order. A batch that
 * fails is sent again with backoff and jitter; after `retryMs` its events become dead letters. It
 * is acknowledged only after either, so another router that takes over sends what this one has not.
 *
 * Bounds: `UNACKED_MAX` events wait here, and `REQUESTS_MAX` requests are in progress; the rest
 * waits in Redis.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Counter } from 'prom-client';
import type { ShardNames } from '../../../common/cluster/shard-names.js';
import { backoffMs } from '../../../common/process/backoff.js';
import { type Logger, LogInterval } from '../../../common/process/log.js';
import { unixMs } from '../../../common/process/time/clock.js';
import { webhookGroup } from '../group-names.js';
import { GroupReader, type ReaderLink } from '../group-reader.js';
import type { DeliveredEvent } from '../partition.js';
import { toCloudEvent, webhookHeaders } from './cloud-events.js';
import { addDeadLetters } from './dead-letters.js';
import type { HttpPoster } from './http-post.js';
import type { WebhookEndpoint } from './settings.js';

const UNACKED_MAX = 2_000;
const EVENTS_PER_BATCH = 100;
const REQUESTS_MAX = 8;
const RETRY_MS_MAX = 60_000;

export interface WebhookOptions {
  readonly link: ReaderLink;
  readonly names: ShardNames;
  readonly keepMs: number;
  readonly retryMs: number;
  /** Unique per router. */
  readonly consumer: string;
  /** Source of the events: the cluster. */
  readonly source: string;
  readonly poster: HttpPoster;
  readonly counters: WebhookCounters;
  readonly log: Logger;
}

export interface WebhookCounters {
  readonly events: Counter<'webhook' | 'outcome'>;
  readonly failures: Counter<'webhook'>;
}

interface Queue {
  readonly events: DeliveredEvent[];
  /** Aborted when another router has the partition. */
  readonly abort: AbortController;
  isSending: boolean;
}

export class Webhook {
  readonly #reader: GroupReader;
  /** By partition, in the order in which they were served. */
  readonly #queues = new Map<number, Queue>();
  readonly #logInterval = new LogInterval();
  #requests = 0;

  constructor(
    readonly endpoint: WebhookEndpoint,
    readonly options: WebhookOptions,
  ) {
    const { link, names, keepMs, consumer, log } = options;
    this.#reader = new GroupReader({
      link,
      names,
      keepMs,
      group: webhookGroup(endpoint.name),
      consumer,
      start: 'now',
      unackedMax: UNACKED_MAX,
      isSelected: endpoint.isSelected,
      onEvents: (partition, events) => {
        const queue = this.#queues.get(partition) ?? newQueue();
        queue.events.push(...events);
        this.#queues.set(partition, queue);
        this.#send();
      },
      onLost: (partition) => this.#drop(partition),
      onEnd: (reason) => log.error({ webhook: endpoint.name, reason }, 'webhook has no events'),
    });
  }

  /** Events that wait here. */
  get pending(): number {
    return this.#reader.unacked;
  }

  async close(): Promise<void> {
    for (const partition of [...this.#queues.keys()]) this.#drop(partition);
    await this.#reader.close();
  }

  #drop(partition: number): void {
    this.#queues.get(partition)?.abort.abort();
    this.#queues.delete(partition);
  }

  /** Begins a request for each partition that has events, as long as there are not too many. */
  #send(): void {
    for (const [partition, queue] of this.#queues) {
      if (this.#requests >= REQUESTS_MAX) return;
      if (queue.isSending || queue.events.length === 0) continue;
      queue.isSending = true;
      this.#requests++;
      void this.#sendBatch(queue).then(() => {
        queue.isSending = false;
        this.#requests--;
        if (this.#queues.get(partition) === queue) {
          // To the end, so that one partition does not keep the others waiting.
          this.#queues.delete(partition);
          if (queue.events.length > 0) this.#queues.set(partition, queue);
        }
        this.#send();
      });
    }
  }

  async #sendBatch(queue: Queue): Promise<void> {
    const { counters } = this.options;
    const { name } = this.endpoint;
    const events = queue.events.splice(0, EVENTS_PER_BATCH);
    const texts = events.map((event) => JSON.stringify(toCloudEvent(event, this.options.source)));
    const problem = await this.#sendUntil(events, `[${texts.join(',')}]`, queue.abort.signal);
    if (queue.abort.signal.aborted) return;
    if (problem !== undefined && !(await this.#bury(problem, texts, queue.abort.signal))) return;
    const outcome = problem === undefined ? 'accepted' : 'dead';
    counters.events.inc({ webhook: name, outcome }, events.length);
    this.#reader.ack(events.map(({ id }) => id));
  }

  /**
   * Resolves with undefined when the endpoint has accepted, or with what was wrong at the last try.
   */
  async #sendUntil(
    events: readonly DeliveredEvent[],
    body: string,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { poster, retryMs, counters, log } = this.options;
    const { name, url, secret } = this.endpoint;
    const endMs = performance.now() + retryMs;
    for (let failures = 1; ; failures++) {
      const headers = webhookHeaders(events, body, secret, Math.floor(unixMs() / 1_000));
      const problem = await poster.post({ url, headers, body, signal });
      if (problem === undefined || signal.aborted) return undefined;
      counters.failures.inc({ webhook: name });
      if (this.#logInterval.isDue(performance.now())) {
        log.warn({ webhook: name, problem, failures }, 'webhook failed; it is tried again');
      }
      if (performance.now() >= endMs) return problem;
      await sleep(backoffMs(failures + 1, RETRY_MS_MAX), undefined, { signal }).catch(() => {});
      if (signal.aborted) return undefined;
    }
  }

  /** Keeps the events as dead letters. Returns false if another router has the partition now. */
  async #bury(problem: string, texts: readonly string[], signal: AbortSignal): Promise<boolean> {
    const { link, log } = this.options;
    const { name } = this.endpoint;
    log.error({ webhook: name, problem, events: texts.length }, 'webhook failed: dead letters');
    for (let failures = 1; !signal.aborted; failures++) {
      const added = await addDeadLetters(link, webhookGroup(name), problem, texts);
      if (added.type === 'done') return true;
      await sleep(backoffMs(failures), undefined, { signal }).catch(() => {});
    }
    return false;
  }
}

function newQueue(): Queue {
  return { events: [], abort: new AbortController(), isSending: false };
}

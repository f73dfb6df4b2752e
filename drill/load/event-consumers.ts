/**
 * A backend that reads events, as users should write it: the consumers of one group acknowledge
 * what they have processed, and watch again, through any router, when a watch ends. Each also ends
 * its watch from time to time, so that its shards go to other consumers.
 */
import { credentials } from '@grpc/grpc-js';
import { backoffMs } from '../../common/process/backoff.js';
import { LINK_OPTIONS } from '../../common/process/grpc-link.js';
import {
  type ClientEvent,
  EventServiceClient,
  type EventServiceWatchResponse,
  OpenWatch,
} from '../../proto/gen/longline/v1/events.js';
import { between, pick, type Random } from '../faults/random.js';
import type { EventWatch, HistoryInProgress, ReceivedEvent } from '../history/history.js';

export interface EventConsumersOptions {
  readonly count: number;
  /** `host:port` of every router's gRPC. */
  readonly routers: readonly string[];
  /** `host:port` for devices, by edge id. */
  readonly edges: ReadonlyMap<string, string>;
  readonly history: HistoryInProgress;
  readonly random: Random;
}

const GROUP = 'drill';
const WATCH_MS_MIN = 4_000;
const WATCH_MS_MAX = 20_000;
const PROCESSING_MS_MAX = 300;
const BACKOFF_MS_MAX = 800;

export class EventConsumers {
  readonly #clients: readonly EventServiceClient[];
  readonly #seen = new Set<string>();
  /** Time of the last event that was new. */
  #receivedAtMs = performance.now();
  #isClosed = false;
  readonly #cancels = new Map<string, () => void>();

  constructor(readonly options: EventConsumersOptions) {
    this.#clients = options.routers.map(
      (address) => new EventServiceClient(address, credentials.createInsecure(), LINK_OPTIONS),
    );
    for (let i = 1; i <= options.count; i++) this.#watch(`consumer-${i}`, 0);
  }

  /** Milliseconds since the last new event. */
  silentMs(): number {
    return performance.now() - this.#receivedAtMs;
  }

  close(): void {
    this.#isClosed = true;
    for (const cancel of this.#cancels.values()) cancel();
    for (const client of this.#clients) client.close();
  }

  #watch(consumer: string, failuresBefore: number): void {
    if (this.#isClosed) return;
    const { history, random } = this.options;
    let failures = failuresBefore;
    const watch: EventWatch = {
      openedAtMs: performance.now(),
      endedAtMs: Number.POSITIVE_INFINITY,
    };
    history.watches.push(watch);
    const call = pick(random, this.#clients).watch();
    const timer = setTimeout(() => call.cancel(), between(random, WATCH_MS_MIN, WATCH_MS_MAX));
    const onEnd = () => {
      if (watch.endedAtMs !== Number.POSITIVE_INFINITY) return;
      watch.endedAtMs = performance.now();
      clearTimeout(timer);
      const delayMs = backoffMs(++failures, BACKOFF_MS_MAX, random);
      setTimeout(() => this.#watch(consumer, failures), delayMs);
    };
    this.#cancels.set(consumer, () => {
      onEnd();
      call.cancel();
    });
    call.on('data', ({ events }: EventServiceWatchResponse) => {
      failures = 0;
      if (events.length === 0) return;
      const received = events.map((event) => this.#record(watch, event));
      setTimeout(
        () => {
          if (watch.endedAtMs !== Number.POSITIVE_INFINITY) return;
          for (const event of received) event.ackedAtMs = performance.now();
          const ids = received.map(({ id }) => id);
          call.write({ request: { $case: 'ack', value: { ids } } });
        },
        between(random, 0, PROCESSING_MS_MAX),
      );
    });
    // `end` follows an `error`; the first of them counts.
    call.on('error', onEnd);
    call.on('end', onEnd);
    const open = OpenWatch.fromPartial({ group: GROUP, consumer, start: 'oldest' });
    call.write({ request: { $case: 'open', value: open } });
  }

  #record(watch: EventWatch, event: ClientEvent): ReceivedEvent {
    const { id, type, clientId, messageId, edgeId, fromEdgeId, reason, lost } = event;
    const atMs = performance.now();
    if (!this.#seen.has(id)) this.#receivedAtMs = atMs;
    this.#seen.add(id);
    const { edges } = this.options;
    const received = {
      watch,
      atMs,
      id,
      type,
      clientId,
      messageId,
      edge: edges.get(edgeId) ?? edgeId,
      fromEdge: edges.get(fromEdgeId) ?? fromEdgeId,
      reason,
      lost,
      ackedAtMs: Number.POSITIVE_INFINITY,
    };
    this.options.history.events.push(received);
    return received;
  }
}

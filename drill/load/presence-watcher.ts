/**
 * A backend that watches who is connected, as users should write it: when a watch ends, it watches
 * again, through any router.
 */
import { credentials } from '@grpc/grpc-js';
import { backoffMs } from '../../common/process/backoff.js';
import { LINK_OPTIONS } from '../../common/process/grpc-link.js';
import { EventServiceClient, WatchPresenceRequest } from '../../proto/gen/longline/v1/events.js';
import { pick } from '../faults/random.js';
import type { EventWatch } from '../history/history.js';
import type { EventConsumersOptions } from './event-consumers.js';

export interface PresenceWatcherOptions extends Omit<EventConsumersOptions, 'count'> {
  readonly clientIds: readonly string[];
}

/** Maximum names of a watch. */
const NAMES_MAX = 1_000;
const BACKOFF_MS_MAX = 800;

export class PresenceWatcher {
  readonly #clients: readonly EventServiceClient[];
  #isClosed = false;
  #cancel = () => {};

  constructor(readonly options: PresenceWatcherOptions) {
    this.#clients = options.routers.map(
      (address) => new EventServiceClient(address, credentials.createInsecure(), LINK_OPTIONS),
    );
    this.#watch(0);
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
    for (const client of this.#clients) client.close();
  }

  #watch(failuresBefore: number): void {
    if (this.#isClosed) return;
    const { clientIds, edges, history, random } = this.options;
    let failures = failuresBefore;
    const watch: EventWatch = {
      openedAtMs: performance.now(),
      endedAtMs: Number.POSITIVE_INFINITY,
    };
    const names = clientIds.slice(0, NAMES_MAX);
    const call = pick(random, this.#clients).watchPresence(WatchPresenceRequest.create({ names }));
    const onEnd = () => {
      if (watch.endedAtMs !== Number.POSITIVE_INFINITY) return;
      watch.endedAtMs = performance.now();
      setTimeout(() => this.#watch(failures), backoffMs(++failures, BACKOFF_MS_MAX, random));
    };
    this.#cancel = () => {
      onEnd();
      call.cancel();
    };
    const record = (type: string, clientId: string, edgeId: string, fromEdgeId: string) => {
      const [edge, fromEdge] = [edgeId, fromEdgeId].map((id) => edges.get(id) ?? id);
      const places = { edge: edge!, fromEdge: fromEdge! };
      history.presence.push({ watch, atMs: performance.now(), type, clientId, ...places });
    };
    call.on('data', ({ states, changes }) => {
      failures = 0;
      for (const { name, clients } of states) record('state', name, clients[0]?.edgeId ?? '', '');
      for (const each of changes) record(each.type, each.clientId, each.edgeId, each.fromEdgeId);
    });
    // `end` follows an `error`; the first of them counts.
    call.on('error', onEnd);
    call.on('end', onEnd);
  }
}

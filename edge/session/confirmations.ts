/**
 * Confirmations of devices on their way to Redis: collected per client and sent a few times a
 * second, because the newest confirmation covers all earlier ones. Pushes that were confirmed
 * before an older one are collected by id. What Redis did not accept is sent again, so that a push
 * is not delivered twice only because Redis was unreachable.
 *
 * Bounds: one entry per client, with `SINGLES_MAX` ids; entries of disconnected clients stay until
 * Redis has them. Over `CLIENTS_MAX` clients or `SINGLES_MAX` ids, confirmations are dropped and
 * counted: the device receives those pushes again.
 */
import type { Counter } from 'prom-client';
import type { EventBounds } from '../../common/cluster/events/event-stream.js';
import { type Confirmation, confirmInboxes, isIdBefore } from '../../common/cluster/inbox.js';
import { shardOf } from '../../common/cluster/shard.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { ITEMS_MAX, type ScriptLink, scopeOf } from '../../common/redis/script.js';
import type { ConfirmedPushes } from '../report/confirmed-pushes.js';

/** Interval of `flush`, and so the maximum delay of `ACKED`. */
export const CONFIRMATIONS_FLUSH_MS = 100;
const CLIENTS_MAX = 100_000;
const SINGLES_MAX = 1_000;

const NONE: readonly string[] = [];

export class Confirmations {
  /** By clientId. */
  readonly #pending = new Map<string, Confirmation>();
  readonly #confirmed: Counter;
  readonly #dropped: Counter;

  constructor(
    readonly link: ScriptLink & Pick<RedisLink, 'isCluster'>,
    /** Undefined: no events of pushes are written. */
    readonly events: EventBounds | undefined,
    readonly confirmed: ConfirmedPushes,
    readonly shardCount: number,
    metrics: Metrics,
  ) {
    this.#confirmed = metrics.counter(
      'longline_edge_confirmations_total',
      'Confirmations written to inboxes, each for all pushes up to one id or for single pushes',
    );
    this.#dropped = metrics.counter(
      'longline_edge_confirmations_dropped_total',
      'Confirmations dropped because too many were waiting for Redis',
    );
  }

  add(channel: string, clientId: string, id: string): void {
    const pending = this.#pending.get(clientId);
    if (pending === undefined || pending.singles.length === 0) {
      if (pending !== undefined && !isIdBefore(pending.id, id)) return;
      return this.#set({ channel, clientId, id, singles: NONE });
    }
    if (pending.id !== '' && !isIdBefore(pending.id, id)) return;
    const singles = pending.singles.filter((single) => isIdBefore(id, single));
    this.#set({ channel, clientId, id, singles });
  }

  /** Confirms only the push `id`. */
  addSingle(channel: string, clientId: string, id: string): void {
    const pending = this.#pending.get(clientId);
    const singles = pending?.singles ?? NONE;
    const upTo = pending?.id ?? '';
    if (singles.includes(id) || (upTo !== '' && !isIdBefore(upTo, id))) return;
    if (singles.length >= SINGLES_MAX) this.#dropped.inc();
    else this.#set({ channel, clientId, id: upTo, singles: [...singles, id] });
  }

  /** Sends the confirmation of one client now: it may reconnect, here or elsewhere, at once. */
  flushClient(clientId: string): void {
    const pending = this.#pending.get(clientId);
    if (pending === undefined) return;
    this.#pending.delete(clientId);
    void this.#send([pending]);
  }

  /** Sends all collected confirmations. Resolves when Redis has replied to all of them. */
  async flush(): Promise<void> {
    const sent = [...this.#pending.values()];
    this.#pending.clear();
    await Promise.all(this.#scriptsOf(sent).map((each) => this.#send(each)));
  }

  /** The confirmations for each call of the script. */
  #scriptsOf(confirmations: readonly Confirmation[]): Confirmation[][] {
    const scripts: Confirmation[][] = [];
    const open = new Map<string, Confirmation[]>();
    for (const confirmation of confirmations) {
      const scope = scopeOf(this.link, confirmation.channel);
      const script = open.get(scope);
      if (script !== undefined && script.length < ITEMS_MAX) script.push(confirmation);
      else {
        scripts.push([confirmation]);
        open.set(scope, scripts.at(-1)!);
      }
    }
    return scripts;
  }

  #set(confirmation: Confirmation): void {
    const { clientId } = confirmation;
    if (this.#pending.size >= CLIENTS_MAX && !this.#pending.has(clientId)) this.#dropped.inc();
    else this.#pending.set(clientId, confirmation);
  }

  async #send(confirmations: readonly Confirmation[]): Promise<void> {
    const outcomes = await confirmInboxes(this.link, confirmations, this.events);
    for (const [i, { channel, clientId, id, singles }] of confirmations.entries()) {
      const outcome = outcomes[i]!;
      if (outcome.type === 'done') {
        this.#confirmed.inc();
        const shard = shardOf(clientId, this.shardCount);
        this.confirmed.add(shard, outcome.reply, singles.at(-1) ?? id);
        continue;
      }
      if (outcome.type === 'unknown') this.confirmed.totals.onUnanswered();
      if (id !== '') this.add(channel, clientId, id);
      for (const single of singles) this.addSingle(channel, clientId, single);
    }
  }
}

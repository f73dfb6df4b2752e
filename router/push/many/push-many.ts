/**
 * One payload for a list of clients.
 *
 * Live-only pushes to shards of one owner go in one message (shard-groups.ts). Other pushes are
 * sent each alone: durable ones, those to a client whose shard has more or fewer subscribers than
 * one, and those that the edge has not processed, because it does not own the shard or is of an
 * earlier version. A push that an edge may have processed is not sent again.
 */
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { TraceBody } from '../../../proto/gen/longline/v1/envelope.js';
import {
  type PushManyRequest,
  type PushManyResponse,
  type PushRequest,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';
import type { Pusher } from '../pusher.js';
import { LiveVerdicts } from './live-verdicts.js';
import { Places, shareOfInFlight } from './places.js';
import { Rounds } from './rounds.js';
import { CLIENTS_PER_MESSAGE, MESSAGES_AT_ONCE, type ShardGroups } from './shard-groups.js';
import { Tally } from './tally.js';

export const CLIENT_IDS_MAX = 10_000;
/** Maximum pushes of one call that are sent alone and await their verdict, while edges answer. */
const PUSHES_AT_ONCE = 1_000;

/** Fields of a live-only push, which has no keys. */
const LIVE = {
  ttlMs: 0,
  appendTo: '',
  appendEnd: false,
  collapsible: false,
  shards: [],
  clientCounts: [],
};

type Groups = Pick<ShardGroups, 'group' | 'withOneSubscriber'>;

interface Client {
  readonly clientId: string;
  readonly shard: number;
}

/**
 * @param answerByMs when the response must be ready, in ms of the monotonic clock
 * @param isEnded whether the caller has cancelled the call or disconnected
 * @param trace of the call, for messages to several clients
 */
export async function pushMany(
  pusher: Pusher,
  groups: Groups,
  request: PushManyRequest,
  answerByMs: number,
  isEnded: () => boolean,
  trace?: TraceBody,
): Promise<PushManyResponse | Rejection> {
  const { length } = request.clientIds;
  if (length === 0 || length > CLIENT_IDS_MAX) {
    const message = `${length} clientIds; 1 to ${CLIENT_IDS_MAX} are allowed`;
    return rejection('REQUEST_MALFORMED', message);
  }
  return new PushMany(pusher, groups, request, answerByMs, isEnded, trace).run();
}

class PushMany {
  readonly #tally = new Tally();
  readonly #unknownClientIds: string[] = [];
  readonly #common: Omit<PushRequest, 'clientId'>;
  /** Clients that can share a message. */
  readonly #rounds: Rounds<Client>;
  /** Clients whose push is sent alone; they come first. */
  #alone: { readonly clientId: string; readonly isCounted: boolean }[] = [];

  constructor(
    readonly pusher: Pusher,
    readonly groups: Groups,
    { clientIds, ...common }: PushManyRequest,
    readonly answerByMs: number,
    readonly isEnded: () => boolean,
    readonly trace: TraceBody | undefined,
  ) {
    this.#common = { ...common, flightRecord: false };
    // In the order of shards: neighbours share a master, and its connection pipelines them.
    const clients = clientIds
      .map((clientId) => ({ clientId, shard: pusher.shardQueries.shardOf(clientId) }))
      .sort((a, b) => a.shard - b.shard);
    const isLive = pusher.ttlMsOf(common) === 0;
    this.#rounds = new Rounds(isLive ? groupClients(groups, clients) : []);
    if (!isLive) this.#leave(clients, true);
  }

  async run(): Promise<PushManyResponse> {
    const inFlightMax = shareOfInFlight(this.pusher.shardQueries);
    const messages = new Places(MESSAGES_AT_ONCE, inFlightMax);
    const pushes = new Places(PUSHES_AT_ONCE, Math.max(PUSHES_AT_ONCE, inFlightMax));
    try {
      for (;;) {
        const isNextAlone = this.#alone.length > 0;
        await (isNextAlone ? pushes : messages).untilFree();
        if (this.isEnded()) break;
        if (isNextAlone) {
          const { clientId, isCounted } = this.#alone.shift()!;
          pushes.hold(this.#push(clientId, isCounted));
          continue;
        }
        const clients = this.#rounds.next(CLIENTS_PER_MESSAGE);
        if (clients !== undefined) messages.hold(this.#pushTogether(clients));
        else if (await messages.untilDone(() => this.#alone.length > 0)) break;
      }
      const abandoned = this.#left();
      this.pusher.onAbandoned(abandoned);
      await messages.untilDone();
      await pushes.untilDone();
      this.pusher.onAbandoned(this.#left() - abandoned);
    } finally {
      messages.close();
      pushes.close();
    }
    const { counts, failures, failed } = this.#tally;
    return { counts, failures, failed, unknownClientIds: this.#unknownClientIds };
  }

  /** Clients whose push was not started. */
  #left(): number {
    return this.#rounds.left + this.#alone.length;
  }

  /** @param isCounted whether they have yet to count against the rate of their clients */
  #leave(clients: readonly Client[], isCounted: boolean): void {
    for (const { clientId } of clients) this.#alone.push({ clientId, isCounted });
  }

  async #push(clientId: string, isCounted: boolean): Promise<void> {
    const request = { ...this.#common, clientId };
    const result = await this.pusher.push(request, this.answerByMs, isCounted);
    if ('code' in result) this.#tally.onFailure(clientId, result);
    else this.#onVerdict(clientId, result.verdict);
  }

  async #pushTogether(clients: readonly Client[]): Promise<void> {
    const shards = new Set(clients.map(({ shard }) => shard));
    const single = await this.groups.withOneSubscriber([...shards]);
    if (this.isEnded()) return this.#leave(clients, true);
    const together = clients.filter(({ shard }) => single.has(shard));
    this.#leave(
      clients.filter(({ shard }) => !single.has(shard)),
      true,
    );
    const startedMs = performance.now();
    let waitMs = 0;
    const admitted = together.filter(({ clientId }) => {
      const request = { ...this.#common, clientId };
      const answer = this.pusher.admit(request, startedMs, this.answerByMs, true);
      if (typeof answer === 'number') waitMs = answer;
      else this.#tally.onFailure(clientId, this.pusher.rejected(answer));
      return typeof answer === 'number';
    });
    if (admitted.length > 0) await this.#sendTo(admitted, startedMs, waitMs);
  }

  async #sendTo(clients: readonly Client[], startedMs: number, waitMs: number): Promise<void> {
    const { payload, contentType, whenSlow } = this.#common;
    const clientIds = clients.map(({ clientId }) => clientId);
    const value = { ...LIVE, trace: this.trace, payload, contentType, whenSlow, clientIds };
    const carrier = clients[0]!.shard;
    const body = { $case: 'push', value } as const;
    const timeoutMs = startedMs + waitMs - performance.now();
    const answers = await this.pusher.shardQueries.queryShard(carrier, body, timeoutMs, false);
    if ('code' in answers) {
      for (const { clientId } of clients)
        this.#tally.onFailure(clientId, this.pusher.rejected(answers));
      return;
    }
    const verdicts = new LiveVerdicts(answers);
    for (const [i, { clientId, shard }] of clients.entries()) {
      const verdict = verdicts.of(i, shard === carrier);
      if (verdict === undefined) this.#alone.push({ clientId, isCounted: false });
      else {
        this.pusher.onVerdict(verdict, startedMs);
        this.#onVerdict(clientId, verdict);
      }
    }
  }

  #onVerdict(clientId: string, verdict: Verdict): void {
    this.#tally.onVerdict(verdict);
    if (verdict === Verdict.VERDICT_UNKNOWN) this.#unknownClientIds.push(clientId);
  }
}

function groupClients(groups: Groups, clients: readonly Client[]): Client[][] {
  const byShard = new Map<number, Client[]>();
  for (const client of clients) {
    const others = byShard.get(client.shard);
    if (others === undefined) byShard.set(client.shard, [client]);
    else others.push(client);
  }
  const grouped = groups.group(byShard.keys());
  return grouped.map((shards) => shards.flatMap((shard) => byShard.get(shard)!));
}

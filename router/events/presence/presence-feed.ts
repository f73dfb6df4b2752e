/**
 * Reads the states that presence watches need, and polls the events of the shards that they watch:
 * once for all watches of this router. A step first reads states, and then events that follow them,
 * so that no change falls between the two. When events were lost, and when a master has changed,
 * the states are read again.
 *
 * Bounds: those of the watches. A state that Redis does not give waits for the next step.
 */
import {
  type EventPosition,
  readEvents,
  type ShardEvents,
} from '../../../common/cluster/events/event-reads.js';
import {
  type NameState,
  readPresence,
  type ShardPresence,
} from '../../../common/cluster/events/presence-reads.js';
import { MasterChanges } from '../../../common/cluster/history/master-changes.js';
import { shardOf } from '../../../common/cluster/shard.js';
import type { ShardNames } from '../../../common/cluster/shard-names.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { type DeliveredEvent, eventsOf } from '../partition.js';
import { MEMBERS_MAX, type PresenceWatch } from './presence-watch.js';

const STEP_MS = 400;
/** Maximum shards in one script: one that changes nothing costs some microseconds. */
const SHARDS_PER_CALL = 256;
/** Maximum names in one script. */
const NAMES_PER_CALL = 256;
const EVENTS_PER_SHARD = 100;

/** Receives the states and changes of a watch. */
export interface PresenceCaller {
  readonly watch: PresenceWatch;
  onStates(states: readonly NameState[]): void;
  onChanges(events: readonly DeliveredEvent[]): void;
  /** The states of all names were given. */
  onComplete(): void;
}

interface StateRead {
  readonly caller: PresenceCaller;
  readonly shard: number;
  /** Members that have joined; undefined: all names of the shard. */
  readonly joined: readonly string[] | undefined;
}

interface Watching {
  /** The names of the request by shard; of a group all shards, without names. */
  readonly names: ReadonlyMap<number, readonly string[]>;
  /** Shards whose state is to be given before the watch is complete. */
  readonly missing: Set<number>;
  isComplete: boolean;
}

export interface PresenceFeedOptions {
  readonly link: RedisLink;
  readonly names: ShardNames;
  readonly keepMs: number;
}

export class PresenceFeed {
  readonly #watching = new Map<PresenceCaller, Watching>();
  /** By shard: the callers that were given its state. */
  readonly #callers = new Map<number, Set<PresenceCaller>>();
  /** By shard with such callers: the newest event that was read. */
  readonly #positions = new Map<number, EventPosition>();
  #reads: StateRead[] = [];
  readonly #masters: MasterChanges;
  readonly #timer: NodeJS.Timeout;
  #isStepping = false;

  constructor(readonly options: PresenceFeedOptions) {
    this.#masters = new MasterChanges(options.link);
    this.#timer = setInterval(() => void this.#step(), STEP_MS);
  }

  get watchCount(): number {
    return this.#watching.size;
  }

  /** @param names '' in a watch of a group */
  add(caller: PresenceCaller, names: readonly string[]): void {
    const { shardCount } = this.options.names;
    const byShard = new Map<number, string[]>();
    if (caller.watch.group !== '') {
      for (let shard = 0; shard < shardCount; shard++) byShard.set(shard, []);
    }
    for (const name of names) {
      const shard = shardOf(name, shardCount);
      byShard.set(shard, [...(byShard.get(shard) ?? []), name]);
    }
    this.#watching.set(caller, {
      names: byShard,
      missing: new Set(byShard.keys()),
      isComplete: false,
    });
    for (const shard of byShard.keys()) this.#reads.push({ caller, shard, joined: undefined });
    void this.#step();
  }

  remove(caller: PresenceCaller): void {
    this.#watching.delete(caller);
    this.#reads = this.#reads.filter((read) => read.caller !== caller);
    for (const shard of [...this.#callers.keys()]) this.#removeFrom(shard, caller);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Never rejects. */
  async #step(): Promise<void> {
    if (this.#isStepping) return;
    this.#isStepping = true;
    if (this.#masters.take()) for (const shard of [...this.#callers.keys()]) this.#readAgain(shard);
    let isMore = this.#watching.size > 0;
    while (isMore) {
      await this.#readStates();
      isMore = await this.#readEvents();
    }
    this.#isStepping = false;
  }

  async #readStates(): Promise<void> {
    const due = this.#reads;
    this.#reads = [];
    for (let i = 0; i < due.length; ) {
      const { caller, joined } = due[i]!;
      const run: StateRead[] = [];
      let count = 0;
      // Scripts of a group read its members, so they are not shared.
      for (; i < due.length && run.length < SHARDS_PER_CALL && count < NAMES_PER_CALL; i++) {
        const next = due[i]!;
        const isSame =
          next.caller === caller && (next.joined === undefined) === (joined === undefined);
        if (!isSame) break;
        count += this.#namesOf(next).length;
        run.push(next);
      }
      await this.#readRun(caller, joined === undefined, run);
    }
  }

  async #readRun(
    caller: PresenceCaller,
    isWhole: boolean,
    run: readonly StateRead[],
  ): Promise<void> {
    const { link, names } = this.options;
    const shards = run.map((read) => ({
      channel: names.channelOf(read.shard),
      names: this.#namesOf(read),
    }));
    const group = isWhole ? caller.watch.group : '';
    const read = await readPresence(link, group, MEMBERS_MAX, shards);
    const done = new Set(read.map(({ index }) => index));
    const watching = this.#watching.get(caller);
    if (watching === undefined) return;
    this.#reads.push(...run.filter((_, i) => !done.has(i)));
    const states = read.flatMap((each) => this.#onState(caller, run[each.index]!, each));
    if (states.length > 0) caller.onStates(states);
    if (watching.missing.size > 0 || watching.isComplete) return;
    watching.isComplete = true;
    caller.onComplete();
  }

  /** Returns the states that the caller is to be given. */
  #onState(
    caller: PresenceCaller,
    { shard, joined }: StateRead,
    { position, states }: ShardPresence,
  ): readonly NameState[] {
    if (joined !== undefined) return caller.watch.onJoinedStates(states, position);
    caller.watch.onStates(states, position);
    this.#watching.get(caller)!.missing.delete(shard);
    const callers = this.#callers.get(shard) ?? new Set();
    this.#callers.set(shard, callers.add(caller));
    // Older than the states of others: each ignores the events that its own state contains.
    if (!this.#positions.has(shard)) this.#positions.set(shard, position);
    return states;
  }

  #namesOf({ caller, shard, joined }: StateRead): readonly string[] {
    return joined ?? this.#watching.get(caller)?.names.get(shard) ?? [];
  }

  /** Returns whether there may be more. */
  async #readEvents(): Promise<boolean> {
    const { link, names, keepMs } = this.options;
    const shards = [...this.#positions.keys()];
    const request = { group: '', start: '0-0', countMax: EVENTS_PER_SHARD, keepMs };
    let isMore = false;
    for (let i = 0; i < shards.length; i += SHARDS_PER_CALL) {
      const some = shards
        .slice(i, i + SHARDS_PER_CALL)
        .filter((shard) => this.#positions.has(shard));
      const after = some.map((shard) => ({
        channel: names.channelOf(shard),
        after: this.#positions.get(shard),
      }));
      for (const read of await readEvents(link, request, after)) {
        const isRead = this.#onEvents(some[read.index]!, read);
        isMore ||= isRead || read.events.length === EVENTS_PER_SHARD;
      }
    }
    return isMore;
  }

  /** Returns whether states are to be read now. */
  #onEvents(shard: number, { before, number, events }: ShardEvents): boolean {
    // The watches have ended meanwhile.
    if (!this.#positions.has(shard)) return false;
    // If less, Redis has lost the newest events, or the stream has started over.
    if (number !== before.number + 1) {
      this.#readAgain(shard);
      return true;
    }
    const last = events.at(-1);
    if (last === undefined) return false;
    this.#positions.set(shard, { id: last.id, number: number + events.length - 1 });
    const delivered = eventsOf(shard, events);
    let isAnyJoined = false;
    for (const caller of this.#callers.get(shard) ?? []) {
      const changes = caller.watch.onEvents(delivered);
      if (changes.events.length > 0) caller.onChanges(changes.events);
      if (changes.joined.length === 0) continue;
      this.#reads.push({ caller, shard, joined: changes.joined });
      isAnyJoined = true;
    }
    return isAnyJoined;
  }

  /** Sends the states of a shard again. */
  #readAgain(shard: number): void {
    const { shardCount } = this.options.names;
    for (const caller of [...(this.#callers.get(shard) ?? [])]) {
      caller.watch.forget((name) => shardOf(name, shardCount) === shard);
      this.#removeFrom(shard, caller);
      this.#reads.push({ caller, shard, joined: undefined });
    }
  }

  #removeFrom(shard: number, caller: PresenceCaller): void {
    const callers = this.#callers.get(shard);
    callers?.delete(caller);
    if (callers?.size !== 0) return;
    this.#callers.delete(shard);
    this.#positions.delete(shard);
  }
}

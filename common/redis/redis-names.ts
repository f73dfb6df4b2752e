/**
 * The names of all keys and channels in Redis. Every name starts with the prefix of the cluster, if
 * it has one, so that several clusters can share a Redis: with the prefix `prod`, the channel
 * `ll:{0}` is `prod:ll:{0}`. A prefix has no braces, so the tag alone determines the slot.
 */

export class RedisNames {
  readonly #start: string;
  /** Hash: settings that all processes of the cluster share. */
  readonly settings: string;
  /** Hash: the assignment. */
  readonly assignment: string;
  /** String: the lock of the leading control. */
  readonly leader: string;
  /** Stream: reports of the processes about their clocks. */
  readonly clocks: string;

  /** @param prefix '' for none */
  constructor(readonly prefix: string) {
    this.#start = prefix === '' ? '' : `${prefix}:`;
    this.settings = `${this.#start}ll:settings`;
    this.assignment = `${this.#start}ll:assignment`;
    this.leader = `${this.#start}ll:leader`;
    this.clocks = `${this.#start}ll:clocks`;
  }

  /**
   * The channel to which the edges of a shard are subscribed. The keys of the shard start with it.
   */
  shardChannel(tag: string): string {
    return `${this.#start}ll:{${tag}}`;
  }

  /** A channel to which one process is subscribed, for replies and probes to it. */
  privateChannel(tag: string, processId: string): string {
    return `${this.#start}lr:{${tag}}:${processId}`;
  }

  /** Stream: the newest events of one kind. All kinds are in one slot. */
  events(kind: string): string {
    return `${this.#start}ll:{events}:${kind}`;
  }
}

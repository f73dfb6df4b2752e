/**
 * Which control leads. The lock in Redis is a hint: it keeps several controls from getting into each
 * other's way. That no shard moves twice does not depend on it, but on compare-and-set of the table
 * and on edges that reject what is older than what they have.
 *
 * Whoever leads renews the lock well before it ends, and stops to lead when it could not for so long
 * that another may have it. Told to stop, it gives the lock back, and the next one leads at once.
 */
import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import type { Logger } from '../../common/process/log.js';

/** How a control is found by the others. */
export interface ControlIdentity {
  readonly id: string;
  /** Of its HTTP API, from wherever operators and other controls are. */
  readonly url: string;
}

export type Leader =
  | { readonly type: 'me' }
  | { readonly type: 'other'; readonly control: ControlIdentity }
  | { readonly type: 'nobody' };

const KEY = 'll:leader';
/** With the interval of tries below 15 s after the death of a leader, the next one has its place. */
const LOCK_MS = 8_000;
const INTERVAL_MS = 1_000;
/** The clock of Redis is not ours; so much earlier the lock counts as lost. */
const MARGIN_MS = 1_500;

/** KEYS[1] the lock; ARGV: our value, ms. Returns our value if it is ours now, else whose it is. */
const TAKE_OR_RENEW = `
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]`;

const GIVE_BACK = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`;

const identity = z.object({ id: z.string(), url: z.string(), incarnation: z.string() });

export class Leadership {
  readonly #value: string;
  #leader: Leader = { type: 'nobody' };
  /** On our clock. */
  #heldUntilMs = 0;
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param incarnation unique per process start: a control that starts anew does not take the lock
   *   of the process before for its own
   */
  constructor(
    readonly commands: Redis | Cluster,
    readonly me: ControlIdentity,
    incarnation: string,
    readonly onChange: (leader: Leader) => void,
    readonly log: Logger,
  ) {
    this.#value = JSON.stringify({ ...me, incarnation });
    void this.#run();
  }

  get leader(): Leader {
    return this.#leader;
  }

  /** Gives the lock back. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const wasMe = this.#leader.type === 'me';
    this.#become({ type: 'nobody' });
    if (wasMe) await this.commands.eval(GIVE_BACK, 1, KEY, this.#value).catch(() => {});
  }

  async #run(): Promise<void> {
    const askedAtMs = performance.now();
    let held: string | undefined;
    try {
      held = String(await this.commands.eval(TAKE_OR_RENEW, 1, KEY, this.#value, LOCK_MS));
    } catch {
      // Redis is away, which its own connection logs.
    }
    if (this.#isClosed) return;
    if (held === this.#value) {
      this.#heldUntilMs = askedAtMs + LOCK_MS - MARGIN_MS;
      this.#become({ type: 'me' });
    } else if (held !== undefined) {
      this.#become(parseLeader(held));
    } else if (this.#leader.type === 'me' && performance.now() >= this.#heldUntilMs) {
      this.#become({ type: 'nobody' });
    }
    this.#timer = setTimeout(() => void this.#run(), INTERVAL_MS);
  }

  #become(leader: Leader): void {
    const name = (one: Leader) => (one.type === 'other' ? one.control.id : one.type);
    if (name(leader) === name(this.#leader)) return;
    this.#leader = leader;
    this.log.info({ leader: name(leader) }, 'leadership has changed');
    this.onChange(leader);
  }
}

function parseLeader(held: string): Leader {
  try {
    const { id, url } = identity.parse(JSON.parse(held));
    return { type: 'other', control: { id, url } };
  } catch {
    // Of another version, or garbage: it ends like any other.
    return { type: 'other', control: { id: 'unknown', url: '' } };
  }
}

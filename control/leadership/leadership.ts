/**
 * Leader election by a lock in Redis. The lock is a hint: it keeps controls from working against
 * each other. Safety does not depend on it, but on compare-and-set of the assignment and on edges
 * that reject assignments older than their own.
 *
 * The leader renews the lock well before it expires, and stops leading when it could not renew it
 * for so long that another control may hold it. On shutdown it releases the lock, and the next
 * control leads at once.
 */
import { z } from 'zod';
import type { Logger } from '../../common/process/log.js';
import type { RedisLink } from '../../common/redis/redis-link.js';

export interface ControlIdentity {
  readonly id: string;
  /** URL of its HTTP API, reachable by operators and other controls. */
  readonly url: string;
}

export type Leader =
  | { readonly type: 'self' }
  | { readonly type: 'other'; readonly control: ControlIdentity }
  | { readonly type: 'none' };

export interface LeadershipOptions {
  readonly link: Pick<RedisLink, 'commands' | 'names'>;
  readonly identity: ControlIdentity;
  /**
   * Unique per process start, so that a restarted control does not take its old lock for its own.
   */
  readonly incarnation: string;
  readonly onChange: (leader: Leader) => void;
  readonly log: Logger;
}

/** With `INTERVAL_MS`, another control leads within 15 s after the leader has died. */
const LOCK_MS = 8_000;
const INTERVAL_MS = 1_000;
/** Both measure the time, at rates that may differ: the lock counts as lost this much earlier. */
const MARGIN_MS = 1_500;

/**
 * KEYS[1] the lock; ARGV: own value, milliseconds. Returns the value of the holder. Redis stores
 * the end of the lock as a time of its clock: when that is set back, or a replica with a clock that
 * is behind takes over, the lock of a leader that has died would be held for as long. So a lock
 * that lasts longer than any control sets it is shortened.
 */
const ACQUIRE_OR_RENEW = `
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  if left < 0 or left > tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  return held
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]`;

const RELEASE = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`;

const lockValue = z.object({ id: z.string(), url: z.string(), incarnation: z.string() });

export class Leadership {
  readonly #options: LeadershipOptions;
  readonly #value: string;
  #leader: Leader = { type: 'none' };
  /** Monotonic time. */
  #heldUntilMs = 0;
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LeadershipOptions) {
    this.#options = options;
    this.#value = JSON.stringify({ ...options.identity, incarnation: options.incarnation });
    void this.#run();
  }

  get leader(): Leader {
    return this.#leader;
  }

  /** Stops leading and releases the lock. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const wasLeader = this.#leader.type === 'self';
    this.#setLeader({ type: 'none' });
    if (!wasLeader) return;
    const { commands, names } = this.#options.link;
    await commands.eval(RELEASE, 1, names.leader, this.#value).catch(() => {});
  }

  async #run(): Promise<void> {
    const startedAtMs = performance.now();
    const holder = await this.#acquireOrRenew();
    if (this.#isClosed) return;
    if (holder === this.#value) {
      this.#heldUntilMs = startedAtMs + LOCK_MS - MARGIN_MS;
      this.#setLeader({ type: 'self' });
    } else if (holder !== undefined) {
      this.#setLeader(parseLeader(holder));
    } else if (this.#leader.type === 'self' && performance.now() >= this.#heldUntilMs) {
      this.#setLeader({ type: 'none' });
    }
    this.#timer = setTimeout(() => void this.#run(), INTERVAL_MS);
  }

  /** The value of the lock's holder; undefined: Redis is unavailable. */
  async #acquireOrRenew(): Promise<string | undefined> {
    const { commands, names } = this.#options.link;
    try {
      return String(await commands.eval(ACQUIRE_OR_RENEW, 1, names.leader, this.#value, LOCK_MS));
    } catch {
      // The Redis connection logs it.
      return undefined;
    }
  }

  #setLeader(leader: Leader): void {
    // A control that restarts under its id may have another URL.
    const name = (one: Leader) =>
      one.type === 'other' ? `${one.control.id} at ${one.control.url}` : one.type;
    if (name(leader) === name(this.#leader)) return;
    this.#leader = leader;
    this.#options.log.info({ leader: name(leader) }, 'leader changed');
    this.#options.onChange(leader);
  }
}

function parseLeader(holder: string): Leader {
  try {
    const { id, url } = lockValue.parse(JSON.parse(holder));
    return { type: 'other', control: { id, url } };
  } catch {
    // Written by another version, or garbage: the lock expires like any other.
    return { type: 'other', control: { id: 'unknown', url: '' } };
  }
}

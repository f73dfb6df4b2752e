/**
 * The clients and users that may not connect, and those whose tokens are revoked. Every edge reads
 * the list in Redis twice a second, if it has changed, and then ends the connections of those that
 * are new on it. While Redis does not answer, the previous list stays in force.
 */
import { type BlockList, readBlocks } from '../../common/cluster/blocks.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import type { ScriptLink } from '../../common/redis/script.js';
import { userOf } from '../../common/wire/client-id.js';
import type { Revocations } from '../session/operators/revocations.js';

/** A change is in force within a second. */
export const BLOCKS_STEP_MS = 500;

const REVOKED = rejection(
  'TOKEN_REVOKED',
  'an operator has revoked this token, as it was issued too early or has no iat; get a new one',
);

export class Blocks {
  /** End of the block by name, in ms of the monotonic clock. */
  #untilMs = new Map<string, number>();
  #version = '';
  #isReading = false;

  /** @param onBlocked called with each name that is blocked from now on */
  constructor(
    readonly link: ScriptLink & Pick<RedisLink, 'names'>,
    readonly revocations: Revocations,
    readonly onBlocked: (name: string) => void,
    metrics: Metrics,
  ) {
    metrics.gauge(
      'longline_edge_blocks',
      'Clients and users that may not connect, some of which may be over',
      () => this.#untilMs.size,
    );
    metrics.gauge(
      'longline_edge_revocations',
      'Users whose tokens issued before a time are revoked; all users together count as one',
      () => revocations.count,
    );
  }

  /**
   * The rejection of a client whose token is revoked, or that is blocked or whose user is;
   * undefined: it may connect.
   * @param issuedAtMs see `Verified`
   */
  reject(clientId: string, issuedAtMs: number, nowMs: number): Rejection | undefined {
    if (this.revocations.isRevoked(clientId, issuedAtMs)) return REVOKED;
    if (this.#untilMs.size === 0) return undefined;
    const names = [clientId, userOf(clientId)];
    const untilMs = Math.max(...names.map((name) => this.#untilMs.get(name) ?? 0));
    if (untilMs <= nowMs) return undefined;
    const retryAfterS = Math.ceil((untilMs - nowMs) / 1_000);
    const message = `an operator has blocked the client or its user for another ${retryAfterS} s`;
    return { ...rejection('CLIENT_BLOCKED', message), retryAfterS };
  }

  /** Reads the list if it has changed, unless a read is in progress. */
  async step(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    const read = await readBlocks(this.link, this.#version);
    this.#isReading = false;
    if (read.type === 'done') {
      const { version, list } = read.reply;
      this.#version = version;
      if (list !== undefined) this.#replace(list);
    }
    this.revocations.step();
  }

  #replace({ blocks, revocations }: BlockList): void {
    this.revocations.replace(revocations);
    const nowMs = performance.now();
    const former = this.#untilMs;
    this.#untilMs = new Map(blocks.map(({ name, remainingMs }) => [name, nowMs + remainingMs]));
    for (const { name } of blocks) {
      if ((former.get(name) ?? 0) <= nowMs) this.onBlocked(name);
    }
  }
}

/**
 * Revoked tokens: those that were issued before a time, of all users or of one. Devices that are
 * connected with such a token are disconnected, a bounded number at a time, because all devices of
 * the edge may be among them.
 */
import type { Revocation } from '../../../common/cluster/blocks.js';
import type { Connection } from '../../../common/transport/transport.js';
import { userOf } from '../../../common/wire/client-id.js';
import type { Connections } from '../connections.js';

/** Maximum connections that one step ends. */
const ENDED_PER_STEP = 1_000;

export class Revocations {
  /** Unix time in ms, for all users. */
  #allBeforeMs = 0;
  #userBeforeMs = new Map<string, number>();
  /** Revocations whose connections may not all be ended yet. */
  #unfinished: Revocation[] = [];

  constructor(
    readonly table: Pick<Connections, 'issuedBefore' | 'issuedAtMs' | 'named'>,
    readonly end: (connection: Connection) => void,
  ) {}

  get count(): number {
    return this.#userBeforeMs.size + (this.#allBeforeMs > 0 ? 1 : 0);
  }

  replace(list: readonly Revocation[]): void {
    const former = this.#userBeforeMs;
    const formerAllMs = this.#allBeforeMs;
    this.#userBeforeMs = new Map(
      list.filter(({ user }) => user !== '').map(({ user, beforeMs }) => [user, beforeMs]),
    );
    this.#allBeforeMs = list.find(({ user }) => user === '')?.beforeMs ?? 0;
    this.#unfinished = list.filter(
      ({ user, beforeMs }) =>
        beforeMs > (user === '' ? formerAllMs : (former.get(user) ?? 0)) ||
        this.#unfinished.some((one) => one.user === user),
    );
  }

  /** @param issuedAtMs Unix time; 0: the token does not say, Infinity: there is no token */
  isRevoked(clientId: string, issuedAtMs: number): boolean {
    if (issuedAtMs < this.#allBeforeMs) return true;
    if (this.#userBeforeMs.size === 0) return false;
    return issuedAtMs < (this.#userBeforeMs.get(userOf(clientId)) ?? 0);
  }

  /** Ends connections with revoked tokens. To be called about twice a second. */
  step(): void {
    let left = ENDED_PER_STEP;
    while (this.#unfinished.length > 0 && left > 0) {
      const revoked = this.#revoked(this.#unfinished[0]!, left + 1);
      for (const connection of revoked.slice(0, left)) this.end(connection);
      if (revoked.length <= left) this.#unfinished.shift();
      left -= revoked.length;
    }
  }

  /** At most `countMax` connections, whose token is revoked. */
  #revoked({ user, beforeMs }: Revocation, countMax: number): Connection[] {
    const { table } = this;
    const candidates =
      user === ''
        ? table.issuedBefore(beforeMs)
        : table.named(user).filter((each) => table.issuedAtMs(each) < beforeMs);
    const revoked: Connection[] = [];
    for (const connection of candidates) {
      if (revoked.push(connection) >= countMax) break;
    }
    return revoked;
  }
}

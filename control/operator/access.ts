/** Who may look and who may steer: tokens that are shown as `Authorization: Bearer <token>`. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { type Refusal, refusal } from '../../common/errors.js';

/** A token is kept as its hash: what is not there can neither be logged nor shown. */
export interface Token {
  /** Whose it is, for the event log. */
  readonly name: string;
  readonly sha256: Buffer;
}

export type Need = 'read' | 'write';

/** Who it is where nobody has to show a token. */
const EVERYBODY = 'local';

export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

export class Access {
  /** Operators may look, too. Without any token everybody may do everything. */
  constructor(
    readonly operators: readonly Token[],
    readonly viewers: readonly Token[],
  ) {}

  /**
   * The name of whoever it is.
   * @param authorization the value of the header
   */
  admit(authorization: string | undefined, need: Need): string | Refusal {
    if (this.operators.length === 0 && this.viewers.length === 0) return EVERYBODY;
    const shown = /^bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
    if (shown === undefined) {
      return refusal('UNAUTHENTICATED', 'expected Authorization: Bearer with a token');
    }
    const sha256 = hashToken(shown);
    const operator = find(this.operators, sha256);
    const viewer = find(this.viewers, sha256);
    if (operator !== undefined) return operator.name;
    if (viewer === undefined) return refusal('UNAUTHENTICATED', 'nobody has this token');
    if (need === 'read') return viewer.name;
    return refusal(
      'PERMISSION_DENIED',
      `${viewer.name} has a viewer's token, it takes an operator's`,
    );
  }
}

/** Compares all in constant time, so that how long it takes tells nothing. */
function find(tokens: readonly Token[], sha256: Buffer): Token | undefined {
  return tokens.filter((token) => timingSafeEqual(token.sha256, sha256))[0];
}

/** Who may look and who may steer: tokens that are shown as `Authorization: Bearer <token>`. */
import { bearerOf, findToken, type Token } from '../../common/auth/tokens.js';
import { type Rejection, rejection } from '../../common/process/errors.js';

export type Need = 'read' | 'write';

/** Who it is where nobody has to show a token. */
const EVERYBODY = 'local';

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
  admit(authorization: string | undefined, need: Need): string | Rejection {
    if (this.operators.length === 0 && this.viewers.length === 0) return EVERYBODY;
    const shown = bearerOf(authorization);
    if (shown === undefined) {
      return rejection('UNAUTHENTICATED', 'expected Authorization: Bearer with a token');
    }
    const operator = findToken(this.operators, shown);
    const viewer = findToken(this.viewers, shown);
    if (operator !== undefined) return operator.name;
    if (viewer === undefined) return rejection('UNAUTHENTICATED', 'nobody has this token');
    if (need === 'read') return viewer.name;
    return rejection(
      'PERMISSION_DENIED',
      `${viewer.name} has a viewer's token, it takes an operator's`,
    );
  }
}

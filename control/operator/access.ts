/** Authorisation of operators: `Authorization: Bearer <token>`, over HTTP and gRPC alike. */
import { bearerOf, findToken, type Token } from '../../common/auth/tokens.js';
import { type Rejection, rejection } from '../../common/process/errors.js';

/** Permission that a route requires. */
export type Permission = 'read' | 'write';

/** Name of every caller where no tokens are configured. */
const LOCAL = 'local';

export class Access {
  /**
   * Without any token every caller may read and write.
   * @param operators tokens that may read and write
   * @param viewers tokens that may read
   */
  constructor(
    readonly operators: readonly Token[],
    readonly viewers: readonly Token[],
  ) {}

  /**
   * Returns the name of the caller's token.
   * @param authorization value of the header
   */
  authorize(authorization: string | undefined, permission: Permission): string | Rejection {
    if (this.operators.length === 0 && this.viewers.length === 0) return LOCAL;
    const presented = bearerOf(authorization);
    if (presented === undefined) {
      return rejection('UNAUTHENTICATED', 'no token; send Authorization: Bearer <token>');
    }
    const operator = findToken(this.operators, presented);
    const viewer = findToken(this.viewers, presented);
    if (operator !== undefined) return operator.name;
    if (viewer === undefined) return rejection('UNAUTHENTICATED', 'the token is unknown');
    if (permission === 'read') return viewer.name;
    return rejection(
      'PERMISSION_DENIED',
      `the token of ${viewer.name} can only read; use an operator's token`,
    );
  }
}

/** Authorisation of operators: `Authorization: Bearer <token>`, over HTTP and gRPC alike. */
import { bearerOf, findToken, type Token } from '../../common/auth/tokens.js';
import { type Rejection, rejection } from '../../common/process/errors.js';

/** Permission that a route requires. */
export type Permission = 'read' | 'write' | 'payload' | 'report';

/** Name of every caller where no tokens are configured. */
export const LOCAL = 'local';
/** Name of the token with which a canary reports: it needs no more rights than a viewer. */
export const CANARY = 'canary';

export class Access {
  /**
   * Without any token every caller may read and write.
   * @param operators tokens that may read and write
   * @param viewers tokens that may read
   * @param payloadReaders names of tokens that may also read the payloads of stored pushes
   */
  constructor(
    readonly operators: readonly Token[],
    readonly viewers: readonly Token[],
    readonly payloadReaders: readonly string[] = [],
  ) {}

  /** No tokens are configured. */
  get isOpen(): boolean {
    return this.operators.length === 0 && this.viewers.length === 0;
  }

  /**
   * Returns the name of the caller's token.
   * @param authorization value of the header
   */
  authorize(authorization: string | undefined, permission: Permission): string | Rejection {
    const name = this.#authenticate(authorization, permission === 'write');
    if (typeof name !== 'string') return name;
    if (permission === 'report' && name !== CANARY && name !== LOCAL) {
      return rejection('PERMISSION_DENIED', `${name} may not report; use a token named ${CANARY}`);
    }
    if (permission !== 'payload') return name;
    if (this.payloadReaders.includes(name)) return name;
    return rejection(
      'PERMISSION_DENIED',
      `${name} may not read payloads; add the name to LONGLINE_CONTROL_PAYLOAD_READERS`,
    );
  }

  #authenticate(authorization: string | undefined, mustWrite: boolean): string | Rejection {
    if (this.isOpen) return LOCAL;
    const presented = bearerOf(authorization);
    if (presented === undefined) {
      return rejection('UNAUTHENTICATED', 'no token; send Authorization: Bearer <token>');
    }
    const operator = findToken(this.operators, presented);
    const viewer = findToken(this.viewers, presented);
    if (operator !== undefined) return operator.name;
    if (viewer === undefined) return rejection('UNAUTHENTICATED', 'the token is unknown');
    if (!mustWrite) return viewer.name;
    return rejection(
      'PERMISSION_DENIED',
      `the token of ${viewer.name} can only read; use an operator's token`,
    );
  }
}

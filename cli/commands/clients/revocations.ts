/** `longline revoke`, `unrevoke` and `revocations`: tokens that were issued before a time. */
import { controlApi } from '../../control/api.js';
import { type OperationOptions, reasonOf } from '../operations.js';
import type { ControlOptions } from '../status.js';
import { table } from '../table.js';

export interface RevokeOptions extends OperationOptions {
  /** Absent: all users, which `all` confirms. */
  readonly user?: string;
  /** Unix time in ms. Undefined: now. */
  readonly before?: number;
}

/** @throws Failure when control rejects or cannot be reached */
export async function revoke(options: RevokeOptions): Promise<void> {
  const { user, before } = options;
  const api = controlApi(options.control, options.token);
  const request = { ...(user && { user }), ...(before && { beforeMs: before }) };
  const revoked = await api.revoke({ ...request, ...reasonOf(options) });
  const time = new Date(revoked.beforeMs).toISOString();
  console.log(
    options.json
      ? JSON.stringify(revoked)
      : `tokens of ${nameOf(revoked.user)} issued before ${time} are revoked`,
  );
}

/**
 * Returns the exit status: 0 when there was a revocation.
 * @throws Failure when control rejects or cannot be reached
 */
export async function unrevoke(options: RevokeOptions): Promise<number> {
  const { user } = options;
  const api = controlApi(options.control, options.token);
  const response = await api.unrevoke({ ...(user && { user }), ...reasonOf(options) });
  const name = nameOf(response.user);
  const done = response.wasRevoked
    ? `tokens of ${name} are valid until they expire`
    : `no tokens of ${name} were revoked`;
  console.log(options.json ? JSON.stringify(response) : done);
  return response.wasRevoked ? 0 : 1;
}

/** @throws Failure when control rejects or cannot be reached */
export async function revocations(options: ControlOptions): Promise<void> {
  const list = await controlApi(options.control, options.token).revocations();
  if (options.json) return console.log(JSON.stringify({ revocations: list }));
  if (list.length === 0) return console.log('no tokens are revoked');
  const rows = list.map(({ user, beforeMs }) => [nameOf(user), new Date(beforeMs).toISOString()]);
  console.log(table(['user', 'tokens issued before'], rows));
}

function nameOf(user: string): string {
  return user === '' ? 'all users' : user;
}

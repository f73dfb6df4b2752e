/**
 * Positions among the members of a group: a shard, and the name after which its members follow.
 * Pure.
 */
import { type Rejection, rejection } from '../../../common/process/errors.js';

export interface MembersPosition {
  readonly shard: number;
  /** '': before the first member of the shard. */
  readonly after: string;
}

export const START: MembersPosition = { shard: 0, after: '' };

/** An opaque text; the position after the last member has none. */
export function tokenOf({ shard, after }: MembersPosition): string {
  return Buffer.from(`${shard}:${after}`).toString('base64url');
}

/** @param token '' for the start */
export function parseToken(token: string, shardCount: number): MembersPosition | Rejection {
  if (token === '') return START;
  const text = Buffer.from(token, 'base64url').toString();
  const [, digits = '', after = ''] = /^(\d{1,5}):(.*)$/s.exec(text) ?? [];
  const position = { shard: Number(digits), after };
  const isValid = digits !== '' && position.shard < shardCount && tokenOf(position) === token;
  if (isValid) return position;
  return rejection('REQUEST_MALFORMED', 'the token is not that of an earlier response');
}

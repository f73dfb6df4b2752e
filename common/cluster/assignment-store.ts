/**
 * The assignment in Redis: one hash under one key, so that it is on one master of a Cluster.
 * `table` is the encoded assignment. `incarnation` and `epoch` repeat its position, for people and
 * for controls of earlier versions. `table` is sealed with a checksum; a control of an earlier
 * version reads it, and writes it without one.
 *
 * A write compares the digest of the stored bytes, not the position: when Redis has lost a write,
 * two controls can each have written another assignment with the same position.
 */

import { createHash } from 'node:crypto';
import type { RedisLink } from '../redis/redis-link.js';
import { type Position, parsePosition } from '../wire/position.js';
import { seal, unseal } from '../wire/sealed-message.js';
import { type Assignment, decodeAssignment, encodeAssignment } from './assignment.js';

/** An assignment, and the digest of the bytes in which it is stored. */
export interface StoredAssignment {
  readonly assignment: Assignment;
  readonly digest: string;
}

export type ReadResult =
  | { readonly type: 'none' }
  | ({ readonly type: 'assignment' } & StoredAssignment)
  /**
   * The stored value was not written by a control of this version; an operator has to find out why.
   */
  | { readonly type: 'invalid'; readonly reason: string }
  /** Bits of the stored value were flipped after a control of this version wrote it. */
  | { readonly type: 'corrupt'; readonly reason: string; readonly digest: string }
  | { readonly type: 'unavailable'; readonly reason: string };

export type WriteResult =
  | { readonly type: 'committed'; readonly digest: string }
  /** Not written: the stored assignment is not the expected one. */
  | { readonly type: 'conflict' }
  /** Written or not: read before the next write. */
  | { readonly type: 'unavailable'; readonly reason: string };

/** Expected by the first write. */
export const NOTHING_STORED = '';

type Link = Pick<RedisLink, 'commands' | 'names'>;

/**
 * Compare and set.
 * Input:  KEYS[1] the hash; ARGV: expected digest (empty: nothing is stored), next incarnation and
 *         epoch, next table
 * Output: 1 written, 0 the stored assignment is not the expected one
 */
const COMPARE_AND_SET = `
local stored = redis.call('HGET', KEYS[1], 'table')
if (stored and redis.sha1hex(stored) or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'incarnation', ARGV[2], 'epoch', ARGV[3], 'table', ARGV[4])
return 1`;

/** @param known returned as it is, without decoding, if the stored bytes are still the same */
export async function readAssignment(
  { commands, names }: Link,
  shardCount: number,
  known?: StoredAssignment,
): Promise<ReadResult> {
  let fields: (Buffer | null)[];
  try {
    fields = await commands.hmgetBuffer(names.assignment, 'incarnation', 'epoch', 'table');
  } catch (error) {
    const reason = (error as Error).message;
    // The only error that concerns the stored value, not Redis.
    return { type: reason.startsWith('WRONGTYPE') ? 'invalid' : 'unavailable', reason };
  }
  const [incarnation, epoch, table] = fields;
  if (!incarnation && !epoch && !table) return { type: 'none' };
  if (!incarnation || !epoch || !table)
    return { type: 'invalid', reason: 'a field of its hash is missing' };
  const digest = digestOf(table);
  if (digest === known?.digest) return { type: 'assignment', ...known };
  const unsealed = unseal(table);
  if (unsealed.type === 'corrupt') {
    return { type: 'corrupt', reason: 'its checksum is wrong', digest };
  }
  const isSealed = unsealed.type === 'intact';
  const assignment = decodeAssignment(isSealed ? unsealed.content : table, shardCount);
  if (typeof assignment === 'string') return { type: 'invalid', reason: assignment };
  const { position } = assignment;
  // Compared as text, as in the script.
  if (`${position.incarnation} ${position.epoch}` !== `${incarnation} ${epoch}`) {
    const reason = 'its position differs from the fields `incarnation` and `epoch`';
    return isSealed ? { type: 'corrupt', reason, digest } : { type: 'invalid', reason };
  }
  return { type: 'assignment', assignment, digest };
}

/**
 * Reads the position only: a few bytes, where the assignment of a large cluster is hundreds of
 * kilobytes. Undefined: none is stored, it is invalid, or Redis is unavailable.
 */
export async function readPosition({ commands, names }: Link): Promise<Position | undefined> {
  try {
    const fields = await commands.hmget(names.assignment, 'incarnation', 'epoch');
    return parsePosition(fields.join('-'));
  } catch {
    return undefined;
  }
}

/** Writes `next` if the digest of the stored assignment is `expected`. */
export async function writeAssignment(
  { commands, names }: Link,
  next: Assignment,
  expected: string,
): Promise<WriteResult> {
  const { incarnation, epoch } = next.position;
  const table = seal(encodeAssignment(next));
  try {
    // EVAL, not EVALSHA: writes are rare, and a flushed script cache needs no handling.
    const written = await commands.eval(
      COMPARE_AND_SET,
      1,
      names.assignment,
      expected,
      incarnation,
      epoch,
      table,
    );
    return written === 1 ? { type: 'committed', digest: digestOf(table) } : { type: 'conflict' };
  } catch (error) {
    return { type: 'unavailable', reason: (error as Error).message };
  }
}

function digestOf(table: Buffer): string {
  return createHash('sha1').update(table).digest('hex');
}

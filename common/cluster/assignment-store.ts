/**
 * The assignment in Redis: one hash under one key, so that it is on one master of a Cluster.
 * `table` is the encoded assignment. `incarnation` and `epoch` repeat its position, so that a
 * script can compare it without decoding the rest.
 */

import type { Cluster, Redis } from 'ioredis';
import type { Position } from '../wire/position.js';
import { type Assignment, decodeAssignment, encodeAssignment } from './assignment.js';

export type ReadResult =
  | { readonly type: 'none' }
  | { readonly type: 'assignment'; readonly assignment: Assignment }
  /**
   * The stored value was not written by a control of this version; an operator has to find out why.
   */
  | { readonly type: 'invalid'; readonly reason: string }
  | { readonly type: 'unavailable'; readonly reason: string };

export type WriteResult =
  | { readonly type: 'committed' }
  /** Not written: the stored assignment is not the expected one. */
  | { readonly type: 'conflict' }
  /** Written or not: read before the next write. */
  | { readonly type: 'unavailable'; readonly reason: string };

const KEY = 'll:assignment';

/**
 * Compare and set.
 * Input:  KEYS[1] the hash; ARGV: expected incarnation and epoch (0 and 0: nothing is stored),
 *         next incarnation and epoch, next table
 * Output: 1 written, 0 the stored assignment is not the expected one
 */
const COMPARE_AND_SET = `
local stored = redis.call('HMGET', KEYS[1], 'incarnation', 'epoch')
if (stored[1] or '0') ~= ARGV[1] or (stored[2] or '0') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'incarnation', ARGV[3], 'epoch', ARGV[4], 'table', ARGV[5])
return 1`;

export async function readAssignment(
  commands: Redis | Cluster,
  shardCount: number,
): Promise<ReadResult> {
  let fields: (Buffer | null)[];
  try {
    fields = await commands.hmgetBuffer(KEY, 'incarnation', 'epoch', 'table');
  } catch (error) {
    const reason = (error as Error).message;
    // The only error that concerns the stored value, not Redis.
    return { type: reason.startsWith('WRONGTYPE') ? 'invalid' : 'unavailable', reason };
  }
  const [incarnation, epoch, table] = fields;
  if (!incarnation && !epoch && !table) return { type: 'none' };
  if (!incarnation || !epoch || !table)
    return { type: 'invalid', reason: 'a field of its hash is missing' };
  const assignment = decodeAssignment(table, shardCount);
  if (typeof assignment === 'string') return { type: 'invalid', reason: assignment };
  const { position } = assignment;
  // Compared as text, as in the script.
  if (`${position.incarnation} ${position.epoch}` !== `${incarnation} ${epoch}`) {
    return {
      type: 'invalid',
      reason: 'its position differs from the fields `incarnation` and `epoch`',
    };
  }
  return { type: 'assignment', assignment };
}

/**
 * Writes `next` if the stored assignment has the position `expected`; ORIGIN: if none is stored.
 */
export async function writeAssignment(
  commands: Redis | Cluster,
  next: Assignment,
  expected: Position,
): Promise<WriteResult> {
  const { incarnation, epoch } = next.position;
  try {
    // EVAL, not EVALSHA: writes are rare, and a flushed script cache needs no handling.
    const written = await commands.eval(
      COMPARE_AND_SET,
      1,
      KEY,
      expected.incarnation,
      expected.epoch,
      incarnation,
      epoch,
      encodeAssignment(next),
    );
    return { type: written === 1 ? 'committed' : 'conflict' };
  } catch (error) {
    return { type: 'unavailable', reason: (error as Error).message };
  }
}

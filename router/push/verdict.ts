/** The verdict of a push, from the answers of the edges. Pure. */
import type { QueryResult } from '../../common/cluster/shard-query.js';
import type { Reply } from '../../proto/gen/longline/v1/envelope.js';
import { Verdict } from '../../proto/gen/longline/v1/push.js';

type ReplyBody = NonNullable<Reply['body']>;

/** Whether no later answer of another edge can improve the verdict. */
export function isFinalForPush(body: ReplyBody): boolean {
  return body.$case === 'written';
}

export function verdictOfLive(answers: Pick<QueryResult, 'bodies' | 'complete'>): Verdict {
  if (answers.bodies.some(isFinalForPush)) return Verdict.VERDICT_WRITTEN;
  if (answers.bodies.some((body) => body.$case === 'slow')) return Verdict.VERDICT_SLOW;
  return answers.complete ? Verdict.VERDICT_OFFLINE : Verdict.VERDICT_UNKNOWN;
}

/** @param isStored whether Redis has confirmed the write */
export function verdictOfDurable(answers: QueryResult, isStored: boolean): Verdict {
  if (answers.bodies.some(isFinalForPush)) return Verdict.VERDICT_WRITTEN;
  // The script publishes only what it has stored, so an answer of any edge proves the write.
  const isKept = isStored || answers.bodies.length > 0;
  return isKept ? Verdict.VERDICT_STORED : Verdict.VERDICT_UNKNOWN;
}

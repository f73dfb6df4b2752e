/** What became of a push, from what the edges answered. Pure. */
import type { Answers } from '../../common/cluster/shard-query.js';
import type { Reply } from '../../proto/gen/longline/v1/envelope.js';
import { Verdict } from '../../proto/gen/longline/v1/push.js';

type ReplyBody = NonNullable<Reply['body']>;

/** Nothing that another edge may still answer can be better. */
export function isFinalForPush(body: ReplyBody): boolean {
  return body.$case === 'written';
}

export function verdictOfLive(answers: Answers): Verdict {
  if (answers.bodies.some(isFinalForPush)) return Verdict.VERDICT_WRITTEN;
  if (answers.bodies.some((body) => body.$case === 'slow')) return Verdict.VERDICT_SLOW;
  return answers.complete ? Verdict.VERDICT_OFFLINE : Verdict.VERDICT_UNKNOWN;
}

/** @param isStored whether Redis has confirmed that it is */
export function verdictOfDurable(answers: Answers, isStored: boolean): Verdict {
  if (answers.bodies.some(isFinalForPush)) return Verdict.VERDICT_WRITTEN;
  // An edge that answers has heard the bell, which rings only for what is stored.
  const isKept = isStored || answers.bodies.length > 0;
  return isKept ? Verdict.VERDICT_STORED : Verdict.VERDICT_UNKNOWN;
}

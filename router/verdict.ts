/** What became of a live push, from what the edges answered. Pure. */
import type { Answers } from '../common/ask.js';
import type { Reply } from '../proto/gen/longline/v1/envelope.js';
import { Verdict } from '../proto/gen/longline/v1/push.js';

type ReplyBody = NonNullable<Reply['body']>;

/** Nothing that another edge may still answer can be better. */
export function isFinalForPush(body: ReplyBody): boolean {
  return body.$case === 'written';
}

export function verdictOf(answers: Answers): Verdict {
  if (answers.bodies.some(isFinalForPush)) return Verdict.VERDICT_WRITTEN;
  if (answers.bodies.some((body) => body.$case === 'slow')) return Verdict.VERDICT_SLOW;
  return answers.complete ? Verdict.VERDICT_OFFLINE : Verdict.VERDICT_UNKNOWN;
}

/**
 * Outcomes of a push at one edge, their numbers in a reply about several clients, and the verdict
 * of a live-only push from the replies of all edges. Pure.
 */
import type { Reply } from '../../proto/gen/longline/v1/envelope.js';
import { Verdict } from '../../proto/gen/longline/v1/push.js';
import type { QueryResult } from './shard-query.js';

/**
 * `absent` the client is not connected here · `written` handed to its socket · `catchingUp` its
 * connection is still receiving the backlog, which includes this push · `slow` its send buffer was
 * full and its connection was closed · `dropped` it was full, and the connection stays.
 */
export type PushOutcome = 'absent' | 'written' | 'catchingUp' | 'slow' | 'dropped';

/** As the fields of `Reply` in envelope.proto; 0: the edge has not processed the push. */
export const OUTCOME_NUMBERS: Readonly<Record<PushOutcome, number>> = {
  absent: 3,
  written: 4,
  slow: 5,
  catchingUp: 8,
  dropped: 11,
};

/** Undefined for 0, and for a number of a later version. */
export function outcomeOf(number: number | undefined): PushOutcome | undefined {
  return OUTCOMES.find((outcome) => OUTCOME_NUMBERS[outcome] === number);
}

const OUTCOMES = Object.keys(OUTCOME_NUMBERS) as PushOutcome[];

/** Whether no later answer of another edge can improve the verdict. */
export function isFinalForPush(body: NonNullable<Reply['body']>): boolean {
  return body.$case === 'written';
}

export function verdictOfLive(answers: Pick<QueryResult, 'bodies' | 'complete'>): Verdict {
  if (answers.bodies.some(isFinalForPush)) return Verdict.VERDICT_WRITTEN;
  if (answers.bodies.some((body) => body.$case === 'slow')) return Verdict.VERDICT_SLOW;
  if (answers.bodies.some((body) => body.$case === 'dropped')) return Verdict.VERDICT_DROPPED;
  return answers.complete ? Verdict.VERDICT_OFFLINE : Verdict.VERDICT_UNKNOWN;
}

/** The verdict of a durable push, from the answers of the edges. Pure. */
import { isFinalForPush } from '../../common/cluster/push-outcomes.js';
import type { QueryResult } from '../../common/cluster/shard-query.js';
import { Verdict } from '../../proto/gen/longline/v1/push.js';

/** @param isStored whether Redis has confirmed the write */
export function verdictOfDurable(answers: Pick<QueryResult, 'bodies'>, isStored: boolean): Verdict {
  if (answers.bodies.some(isFinalForPush)) return Verdict.VERDICT_WRITTEN;
  // The script publishes only what it has stored, so an answer of any edge proves the write.
  const isKept = isStored || answers.bodies.length > 0;
  return isKept ? Verdict.VERDICT_STORED : Verdict.VERDICT_UNKNOWN;
}

/** The verdicts of a live-only push to several clients, from the answers of the edges. Pure. */
import {
  OUTCOME_NUMBERS,
  outcomeOf,
  verdictOfLive,
} from '../../../common/cluster/push-outcomes.js';
import type { QueryResult } from '../../../common/cluster/shard-query.js';
import { Verdict } from '../../../proto/gen/longline/v1/push.js';

export class LiveVerdicts {
  /** For each edge, the outcomes of all clients. */
  readonly #outcomes: Uint8Array[];

  constructor(readonly answers: QueryResult) {
    this.#outcomes = answers.bodies.flatMap((body) =>
      body.$case === 'multiPush' ? [body.value.outcomes] : [],
    );
  }

  /**
   * The verdict of the client at `index` of the message; undefined: no edge has processed the push.
   * @param isOfCarrier whether the message was sent on the channel of the client's own shard
   */
  of(index: number, isOfCarrier: boolean): Verdict | undefined {
    const { haveAllReplied, complete } = this.answers;
    // Another shard of the group has one subscriber, the edge that has processed the push.
    const isComplete = isOfCarrier ? complete : haveAllReplied;
    // Most are one of these two.
    if (isComplete && this.#outcomes.length === 1) {
      const number = this.#outcomes[0]![index];
      if (number === OUTCOME_NUMBERS.written) return Verdict.VERDICT_WRITTEN;
      if (number === OUTCOME_NUMBERS.absent) return Verdict.VERDICT_OFFLINE;
    }
    const bodies = this.#outcomes.flatMap((outcomes) => {
      const outcome = outcomeOf(outcomes[index]);
      return outcome === undefined ? [] : [{ $case: outcome, value: {} }];
    });
    if (bodies.length === 0) return haveAllReplied ? undefined : Verdict.VERDICT_UNKNOWN;
    return verdictOfLive({ bodies, complete: isComplete });
  }
}

/** Outcomes of a push at one edge, and their numbers in a reply about several clients. */

/**
 * `absent` the client is not connected here · `written` handed to its socket · `catchingUp` its
 * connection is still receiving the backlog, which includes this push · `slow` its send buffer was
 * full and its connection was closed.
 */
export type PushOutcome = 'absent' | 'written' | 'catchingUp' | 'slow';

/** As the fields of `Reply` in envelope.proto; 0: the edge has not processed the push. */
export const OUTCOME_NUMBERS: Readonly<Record<PushOutcome, number>> = {
  absent: 3,
  written: 4,
  slow: 5,
  catchingUp: 8,
};

/** Undefined for 0, and for a number of a later version. */
export function outcomeOf(number: number | undefined): PushOutcome | undefined {
  return OUTCOMES.find((outcome) => OUTCOME_NUMBERS[outcome] === number);
}

const OUTCOMES = Object.keys(OUTCOME_NUMBERS) as PushOutcome[];

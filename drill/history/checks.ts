/** The checks of a history, and what they find. */

/**
 * - `lost` accepted, and never received; except for what a fault may destroy (`Loss`);
 *   no reset although Redis has lost the cursor of the device.
 * - `outOfOrder` ids decrease on a connection; a push was received before an older one; a push
 *   has a smaller id than one that was stored before it was sent.
 * - `unexplainedDuplicates` one id twice on a connection, or at or before the cursor of the
 *   device; one push under two ids; a live-only push twice.
 * - `falseVerdicts` an answer that cannot have been true, and a reset although no push was missing.
 * - `late` accepted in calm for a steady device, and not received for ten seconds.
 * - `phantoms` received, and never pushed, or rejected at every attempt.
 * - `misdelivered` received by another client.
 * - `corrupted` other bytes than were pushed, or no id where there must be one.
 * - `falseLedger` the ledger does not add up, differs from what was accepted and received, or found
 *   a difference that no fault explains.
 *
 * With events on:
 *
 * - `missingEvents` a connection, its end or a confirmed push without its event.
 * - `falseEvents` an event of something that never happened, or a second one of it, or one before
 *   it happened.
 * - `misorderedEvents` an event of a client was first received after a later one.
 * - `repeatedEvents` an event came again although it was acknowledged.
 * - `falsePresence` a watch of presence received a change that does not follow from what it
 *   received before, or its last state is not that of the connections.
 */
export const CHECKS = [
  'lost',
  'outOfOrder',
  'unexplainedDuplicates',
  'falseVerdicts',
  'late',
  'phantoms',
  'misdelivered',
  'corrupted',
  'falseLedger',
  'missingEvents',
  'falseEvents',
  'misorderedEvents',
  'repeatedEvents',
  'falsePresence',
] as const;

export type CheckName = (typeof CHECKS)[number];

export interface Finding {
  readonly check: CheckName;
  readonly clientId: string;
  /** Undefined when the finding is about a connection or an unreadable payload. */
  readonly pushNumber: number | undefined;
  readonly message: string;
}

export type Find = (
  name: CheckName,
  clientId: string,
  pushNumber: number | undefined,
  message: string,
) => void;

/** Time until a fault has no more effect anywhere: a lease, a backoff, another poll. */
export const AFTERMATH_MS = 8_000;
/** How long before and after a moment a connection must be open to count as steady. */
export const STEADY_MS = 2_000;

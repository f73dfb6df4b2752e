/** Reads the ledger of control when everything has come to an end. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LedgerResponse } from '../../control/operator/ledger.js';
import type { History, LedgerRecord } from '../history/history.js';
import { isAccepted } from '../history/history-index.js';

const POLL_MS = 500;
/** Each shard is audited every ten seconds, also by a leader that has just begun. */
const READ_MS_MAX = 30_000;

/**
 * Resolves when it has all accepted pushes, or after a while; with undefined if no control returns
 * it.
 */
export async function readLedger(
  controlUrl: string,
  { pushes, disturbances }: History,
  signal: AbortSignal,
): Promise<LedgerRecord | undefined> {
  const accepted = pushes.filter((push) => push.isDurable && push.attempts.some(isAccepted));
  const acceptedMin = disturbances.some(({ loss }) => loss !== undefined) ? 0 : accepted.length;
  const endMs = performance.now() + READ_MS_MAX;
  for (;;) {
    const ledger = await readOnce(controlUrl);
    const isComplete = ledger !== undefined && ledger.accepted >= acceptedMin;
    if (isComplete || performance.now() > endMs) return ledger;
    await sleep(POLL_MS, undefined, { signal });
  }
}

async function readOnce(controlUrl: string): Promise<LedgerRecord | undefined> {
  const response = await fetch(`${controlUrl}/v1/ledger`).catch(() => undefined);
  if (response?.status !== 200) return undefined;
  const ledger = (await response.json()) as LedgerResponse;
  // The leader has just begun.
  if (ledger.shardsLate > 0) return undefined;
  const { accepted, waiting, confirmed, lost, before } = ledger;
  const dropped = ledger.expired + ledger.evicted + ledger.collapsed + ledger.skipped;
  const differences = ledger.differences.map(
    ({ kind, shard, pushes }) => `${kind}: ${pushes} pushes of shard ${shard}`,
  );
  return { accepted, waiting, confirmed, dropped, lost, before, differences };
}

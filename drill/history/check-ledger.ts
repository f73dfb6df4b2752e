/** Checks the ledger of control against what the backend and the devices have seen. Pure. */
import type { Find } from './checks.js';
import type { History } from './history.js';
import { type Indexed, isAccepted } from './history-index.js';

export function checkLedger(history: History, index: Indexed, find: Find): void {
  const { ledger } = history;
  // After a loss, Redis and the answers of routers differ, and both are right.
  if (ledger === undefined || index.mayHaveLostWrites(0, Number.POSITIVE_INFINITY)) return;
  const { accepted, waiting, confirmed, dropped, lost, before, differences } = ledger;
  const fail = (message: string) => find('falseLedger', '', undefined, message);
  const sum = waiting + confirmed + dropped + lost;
  if (accepted !== sum) fail(`${accepted} pushes were accepted, and the columns are ${sum}`);
  if (before !== 0) fail(`${before} pushes are from before the first one`);
  for (const difference of differences) fail(difference);
  const durable = history.pushes.filter(({ isDurable }) => isDurable);
  const mayBe = durable.filter(({ attempts }) => attempts.some((each) => !isRejected(each)));
  const certain = durable.filter(({ attempts }) => attempts.some(isAccepted)).length;
  if (accepted < certain) fail(`${accepted} pushes were accepted, the backend knows of ${certain}`);
  if (accepted > mayBe.length) {
    fail(`${accepted} pushes were accepted, the backend has sent ${mayBe.length}`);
  }
  const received = durable.filter((push) => index.receivedOf(push).length > 0).length;
  if (confirmed > received) {
    fail(`${confirmed} pushes are confirmed, the devices have received ${received}`);
  }
}

function isRejected({ outcome }: { readonly outcome: string | undefined }): boolean {
  return outcome === 'REJECTED';
}

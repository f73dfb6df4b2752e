/** The ledger of all durable pushes, and whether it balances. */
import type { LedgerResponse } from '../../operator/ledger.js';
import { compact, dateTime, duration, number, percent } from '../format.js';
import { useFeed } from '../live.js';
import { Badge, Card, Fact, Facts, Loaded, Note } from '../parts.js';

const POLL_MS = 5_000;

const COLUMNS = [
  ['waiting', 'Waiting', 'In an inbox'],
  ['confirmed', 'Confirmed', 'The device has named this push or a later one'],
  ['expired', 'Expired', 'The TTL has passed'],
  ['evicted', 'Evicted', 'The inbox was full'],
  ['collapsed', 'Collapsed', 'A later push with the same collapse key took their place'],
  ['skipped', 'Skipped', 'The device cannot receive them'],
  ['lost', 'Lost', 'Redis has lost them; must be 0'],
] as const;

export function LedgerCard() {
  const ledger = useFeed<LedgerResponse>('v1/ledger', POLL_MS);
  const isBalanced = ledger.data?.differences.length === 0;
  return (
    <Card
      title="Ledger of durable pushes"
      side={
        ledger.data?.sinceMs != null && (
          <Badge level={isBalanced ? 'good' : 'bad'}>
            {isBalanced ? 'balances' : 'does not balance'}
          </Badge>
        )
      }
    >
      <Loaded feed={ledger}>{(data) => <Ledger {...data} />}</Loaded>
    </Card>
  );
}

function Ledger(ledger: LedgerResponse) {
  const { sinceMs, accepted, shares, confirmations, differences } = ledger;
  if (sinceMs === null) return <Note>No shard has been audited yet.</Note>;
  return (
    <>
      <Facts>
        <Fact name="Accepted" title={`${number(accepted)} since ${dateTime(sinceMs)}`}>
          {compact(accepted)}
        </Fact>
        {COLUMNS.map(([name, label, meaning]) => {
          const share = name in shares ? shares[name as keyof typeof shares] : null;
          return (
            <Fact key={name} name={label} title={`${number(ledger[name])}. ${meaning}`}>
              {compact(ledger[name])} {share !== null && <small>{percent(share)}</small>}
            </Fact>
          );
        })}
        <Fact name="To confirmation" title="Median; the newest push of each confirmation">
          {duration(confirmations.p50Ms)}{' '}
          {confirmations.p99Ms !== null && (
            <small>99 % within {duration(confirmations.p99Ms)}</small>
          )}
        </Fact>
      </Facts>
      {differences.map(({ kind, shard, pushes, ageMs }) => (
        <Note key={`${kind} ${shard}`} level="bad">
          {number(pushes)} {kind} in shard {shard}, found {duration(ageMs)} ago
        </Note>
      ))}
    </>
  );
}

/** The findings of the canaries; nothing where none runs. */
import type { CanariesResponse } from '../../../operator/canaries.js';
import { duration, number, plural } from '../../format.js';
import { Badge, Card, Fact, Facts, Note } from '../../parts.js';

export function CanaryCards({ canaries }: CanariesResponse) {
  return (
    <>
      {canaries.map((canary) => (
        <CanaryCard key={canary.id} {...canary} />
      ))}
    </>
  );
}

function CanaryCard(canary: CanariesResponse['canaries'][number]) {
  const { id, devices, connected, combinations, covered, pushes, p50Ms, p99Ms } = canary;
  const findings = Object.entries(canary.findings);
  const isGood = findings.length === 0;
  return (
    <Card
      title={`Canary ${id}`}
      side={
        <Badge level={isGood ? 'good' : 'bad'}>
          {isGood ? 'no promise broken' : 'promises broken'}
        </Badge>
      }
    >
      <Facts>
        <Fact name="Covered" title="Combinations of an edge, a Redis master and a protocol">
          {number(covered)} <small>of {plural(combinations, 'combination')}</small>
        </Fact>
        <Fact name="Devices">
          {number(connected)} <small>of {number(devices)} connected</small>
        </Fact>
        <Fact name="Pushes">
          {number(pushes)} <small>in 15 minutes</small>
        </Fact>
        <Fact name="To receipt" title="Median; devices that were connected">
          {duration(p50Ms)} {p99Ms !== null && <small>99 % within {duration(p99Ms)}</small>}
        </Fact>
        {findings.map(([check, count]) => (
          <Fact key={check} name={check.replaceAll('_', ' ')}>
            <Badge level="bad">{number(count)}</Badge> <small>in 15 minutes</small>
          </Fact>
        ))}
      </Facts>
      {!isGood && canary.lastFinding !== '' && <Note level="bad">{canary.lastFinding}</Note>}
    </Card>
  );
}

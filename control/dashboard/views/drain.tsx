/** Progress of a drain. */
import { useRef } from 'preact/hooks';
import type { MovesResponse } from '../../operator/operation-responses.js';
import { DRAIN_DELAYS } from '../../pace/drain-delay.js';
import { eta, number, plural } from '../format.js';
import { Bar, Note } from '../parts.js';

type DrainInfo = MovesResponse['drains'][number];

export function Drain({ drain }: { drain: DrainInfo }) {
  const { edgeId, shardsPending, shardsMoving, clientsRemaining, finished } = drain;
  const shards = shardsPending + shardsMoving;
  const left = shards + (clientsRemaining ?? 0);
  // Control does not keep how many there were: the bar starts when the page is opened.
  const most = useRef(left);
  most.current = Math.max(most.current, left);
  if (finished) return <Note level="good">{edgeId} is empty: its process may be stopped.</Note>;
  return (
    <div class="drain">
      <Bar share={1 - left / (most.current || 1)} label={`Drain of ${edgeId}`} />
      <p>
        {plural(clientsRemaining, 'client')}, {plural(shards, 'shard')} left ·{' '}
        {eta(drain.secondsRemaining)}
      </p>
      {drain.delayedBy !== null && (
        <Note level="warn">Delayed: {DRAIN_DELAYS[drain.delayedBy] ?? drain.delayedBy}.</Note>
      )}
      {drain.waitingFor !== null && (
        <Note>
          Waiting for {number(drain.waitingFor.clients)} that came back:{' '}
          {drain.waitingFor.clientIds.join(', ')}
        </Note>
      )}
    </div>
  );
}

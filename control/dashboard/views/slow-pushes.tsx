/** The pushes of the last minute whose verdict took longest, and what each has waited for. */
import { Fragment } from 'preact';
import { STEP_MEANINGS } from '../../../common/http/flight-meanings.js';
import type { FlightStep } from '../../../common/http/flight-steps.js';
import type { SlowPushesResponse, SlowPushInfo } from '../../operator/slow-pushes.js';
import { bytes, duration } from '../format.js';
import { useFeed } from '../live.js';
import { Card, Loaded, Note } from '../parts.js';
import { clientPath } from './client-table.js';

/** Routers report every five seconds. */
const POLL_MS = 3_000;
const COLUMNS = 9;

const CAUSES: Readonly<Record<SlowPushInfo['cause'], string>> = {
  router: 'the router was busy',
  redis: 'Redis replied late',
  'redis-silent': 'Redis did not reply',
  edge: 'an edge replied late',
  'edge-silent': 'an edge did not reply',
  'no-owner': 'no edge of the shard received it',
  unknown: 'too short to tell',
};

export function SlowPushesCard() {
  const slow = useFeed<SlowPushesResponse>('v1/slow-pushes', POLL_MS);
  return (
    <Card title="Slowest pushes of the last minute">
      <Loaded feed={slow}>
        {({ pushes }) =>
          pushes.length === 0 ? (
            <Note>No push in the last minute.</Note>
          ) : (
            <SlowPushTable pushes={pushes} />
          )
        }
      </Loaded>
    </Card>
  );
}

function SlowPushTable({ pushes }: SlowPushesResponse) {
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Client</th>
            <th class="right">Took</th>
            <th class="right" title="Until Redis had replied">
              Redis
            </th>
            <th class="right" title="Until the last edge had replied">
              Edges
            </th>
            <th>Why</th>
            <th>Verdict</th>
            <th class="right">Size</th>
            <th>Router</th>
            <th class="right">Ago</th>
          </tr>
        </thead>
        <tbody>
          {pushes.map((push) => (
            <Fragment key={`${push.routerId} ${push.clientId} ${push.totalMs}`}>
              <SlowPushRow {...push} />
              <StepsRow steps={push.flightRecord} columns={COLUMNS} />
            </Fragment>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function SlowPushRow(push: SlowPushInfo) {
  return (
    <tr>
      <td>
        <a class="client-id" href={clientPath(push.clientId)}>
          {push.clientId}
        </a>
      </td>
      <td class="right">{duration(push.totalMs)}</td>
      <td class="right">{duration(push.redisMs)}</td>
      <td class="right">{duration(push.edgesMs)}</td>
      <td class="text">{CAUSES[push.cause]}</td>
      <td>{push.verdict}</td>
      <td class="right">{bytes(push.payloadBytes)}</td>
      <td>{push.routerId}</td>
      <td class="right">{duration(push.ageMs)}</td>
    </tr>
  );
}

interface StepsRowProps {
  readonly steps: readonly FlightStep[] | undefined;
  /** Columns of the table. */
  readonly columns: number;
}

/** The flight record of a push, in a row below it. */
export function StepsRow({ steps, columns }: StepsRowProps) {
  if (steps === undefined) return null;
  return (
    <tr class="more">
      <td colSpan={columns}>
        <details>
          <summary>Steps</summary>
          <ol>
            {steps.map(({ event, place, afterUs, errorUs }) => (
              <li key={`${event} ${place}`}>
                {duration(afterUs / 1_000)}
                {errorUs > 0 && ` ± ${duration(errorUs / 1_000)}`}: {STEP_MEANINGS[event]} ({place})
              </li>
            ))}
          </ol>
        </details>
      </td>
    </tr>
  );
}

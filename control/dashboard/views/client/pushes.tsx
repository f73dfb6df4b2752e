/**
 * The newest pushes to a client, their verdicts and flight records, as the routers remember them.
 */
import { Fragment } from 'preact';
import type {
  ClientPushesResponse,
  ClientPushInfo,
} from '../../../operator/clients/client-pushes.js';
import { bytes, duration, plural, UNKNOWN } from '../../format.js';
import { useFeed } from '../../live.js';
import { Badge, Card, Loaded, Note } from '../../parts.js';
import { StepsRow } from '../slow-pushes.js';
import { VERDICT_LEVELS } from './test-push.js';

/** Each poll queries all routers. */
const POLL_MS = 3_000;
const COLUMNS = 7;

export function LastPushes({ clientId }: { clientId: string }) {
  const path = `v1/client-pushes/${encodeURIComponent(clientId)}`;
  const feed = useFeed<ClientPushesResponse>(path, POLL_MS);
  return (
    <Card title="Last verdicts">
      <Loaded feed={feed}>
        {({ pushes, rememberedMs, silentRouters }) => (
          <>
            {silentRouters > 0 && (
              <Note level="warn">
                {plural(silentRouters, 'router')} did not answer in time: pushes may be missing.
              </Note>
            )}
            {rememberedMs === null ? (
              <Note>No router has answered.</Note>
            ) : (
              <p class="hint">Routers remember the pushes of the last {duration(rememberedMs)}.</p>
            )}
            {pushes.length > 0 && <PushTable pushes={pushes} />}
            {pushes.length === 0 && rememberedMs !== null && <Note>None of them was to it.</Note>}
          </>
        )}
      </Loaded>
    </Card>
  );
}

function PushTable({ pushes }: Pick<ClientPushesResponse, 'pushes'>) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls.
    <div class="scroll tail" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th class="right">Ago</th>
            <th>Verdict</th>
            <th class="right" title="From the request to the verdict">
              Took
            </th>
            <th class="right">Size</th>
            <th title="What the push had to survive when it was answered">Level</th>
            <th>Id</th>
            <th>Router</th>
          </tr>
        </thead>
        <tbody>
          {pushes.map((push) => (
            <Fragment key={`${push.routerId} ${push.messageId} ${push.totalMs}`}>
              <PushRow {...push} />
              <StepsRow steps={push.flightRecord} columns={COLUMNS} />
            </Fragment>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function PushRow(push: ClientPushInfo) {
  return (
    <tr>
      <td class="right">{duration(push.ageMs)}</td>
      <td>
        <Badge level={VERDICT_LEVELS[push.verdict] ?? 'dim'}>{push.verdict}</Badge>
      </td>
      <td class="right">{duration(push.totalMs)}</td>
      <td class="right">{bytes(push.payloadBytes)}</td>
      <td>{push.acceptLevel?.toLowerCase() ?? UNKNOWN}</td>
      <td>{push.messageId === null ? UNKNOWN : <code>{push.messageId}</code>}</td>
      <td>{push.routerId}</td>
    </tr>
  );
}

/** One client: where it belongs, where it is connected, and what waits for it. */
import { useState } from 'preact/hooks';
import type { PushResponse } from '../../../operator/clients/responses.js';
import type { ClientResponse, UserResponse } from '../../../operator/cluster-responses.js';
import { Action } from '../../action.js';
import { dateTime, duration, number, plural, UNKNOWN } from '../../format.js';
import { useEvents, useFeed } from '../../live.js';
import { Badge, Card, Fact, Facts, Loaded, Note } from '../../parts.js';
import { clientPath } from '../client-table.js';
import { EventList } from '../events.js';
import { Inbox } from './inbox.js';
import { LastPushes } from './pushes.js';
import { PushResult, TestPush } from './test-push.js';
import { Trail } from './trail.js';

/** Each poll queries the edges. */
const POLL_MS = 3_000;
/** Each poll queries the edges once for each device. */
const USER_POLL_MS = 10_000;
/** One connection on each edge at most. */
const DISCONNECT_RATE = 1_000;
const BLOCK_MS = 3_600_000;

export function Client({ id }: { id: string }) {
  const client = useFeed<ClientResponse>(`v1/clients/${encodeURIComponent(id)}`, POLL_MS);
  const { events, state } = useEvents();
  return (
    <Loaded feed={client}>
      {(shown) => (
        <>
          {!shown.complete && (
            <Note level="warn">
              An edge that could have a connection of this client did not answer in time.
            </Note>
          )}
          <div class="columns">
            <div>
              <Connections client={shown} />
              <User user={id.split('/', 1)[0]!} clientId={id} />
              <Card title="Belongs to">
                <Facts>
                  <Fact name="Shard">
                    <a href={`#/shards/${shown.shard}`}>{shown.shard}</a>
                  </Fact>
                  <Fact name="Owner">
                    {shown.owner === null ? (
                      'none'
                    ) : (
                      <a href={`#/edges/${shown.owner}`}>{shown.owner}</a>
                    )}
                  </Fact>
                  <Fact name="Channel">
                    <code>{shown.channel}</code>
                  </Fact>
                </Facts>
                {shown.move && (
                  <Note level="warn">
                    Its shard is moving: {shown.move.from} → {shown.move.to}, {shown.move.phase}.
                  </Note>
                )}
              </Card>
            </div>
            <div>
              <Trail client={shown} />
              <LastPushes clientId={id} />
              <Inbox clientId={id} inbox={shown.inbox} />
              <Card title="In the event log">
                <EventList
                  events={events.filter(({ clientId }) => clientId === id)}
                  state={state}
                />
              </Card>
            </div>
          </div>
        </>
      )}
    </Loaded>
  );
}

function Connections({
  client: { clientId, connections, reconnects },
}: {
  client: ClientResponse;
}) {
  const [pushed, setPushed] = useState<PushResponse>();
  return (
    <Card
      title={<span class="client-id">{clientId}</span>}
      side={
        <Badge level={connections.length > 0 ? 'good' : 'dim'}>
          {connections.length > 0 ? 'connected' : 'away'}
        </Badge>
      }
    >
      {connections.length === 0 && (
        <Note>No edge has a connection of it. Pushes with a TTL are stored.</Note>
      )}
      {connections.map((one) => (
        <Facts key={`${one.edgeId} ${one.connectedAtMs}`}>
          <Fact name="On">
            <a href={`#/edges/${one.edgeId}`}>{one.edgeId}</a>{' '}
            {one.guest && (
              <Badge level="warn">
                guest: {one.guestReason?.replaceAll('-', ' ') ?? 'unknown'}
              </Badge>
            )}
          </Fact>
          <Fact name="For" title={`Since ${dateTime(one.connectedAtMs)}`}>
            {duration(one.connectedForMs)}
          </Fact>
          <Fact name="Over">{one.protocol}</Fact>
          <Fact name="From">{one.remoteAddress}</Fact>
          <Fact name="Labels">{one.labels || UNKNOWN}</Fact>
        </Facts>
      ))}
      {reconnects.map(({ edgeId, ends, reasons }) => (
        <Note key={edgeId} level="warn">
          {plural(ends, 'connection')} ended on {edgeId} in the last minute: {reasons.join(', ')}
        </Note>
      ))}
      {pushed && <PushResult {...pushed} />}
      <footer>
        <TestPush clientId={clientId} onVerdict={setPushed} />
        <Action
          label="Disconnect"
          title={`Disconnect ${clientId}?`}
          path="v1/disconnect"
          body={{ clientId, rate: DISCONNECT_RATE }}
        >
          <p>Its connections end. Most libraries connect again at once; a block keeps it away.</p>
        </Action>
        <Action
          label="Block for an hour"
          title={`Block ${clientId}?`}
          path="v1/block"
          body={{ name: clientId, forMs: BLOCK_MS }}
          isDangerous
        >
          <p>
            Within a second its connections end, and it cannot connect for an hour. If it is the
            name of a user, this holds for all devices of the user. Pushes are stored.
          </p>
        </Action>
      </footer>
    </Card>
  );
}

/** All devices of the user that the client belongs to. */
function User({ user, clientId }: { user: string; clientId: string }) {
  const devices = useFeed<UserResponse>(`v1/users/${encodeURIComponent(user)}`, USER_POLL_MS);
  return (
    <Card title={<span class="client-id">User {user}</span>}>
      <Loaded feed={devices}>
        {({ devices: all, more }) => (
          <>
            <ul class="restrictions">
              {all.map((device) => (
                <li key={device.clientId}>
                  <a
                    class="client-id"
                    href={clientPath(device.clientId)}
                    aria-current={device.clientId === clientId ? 'true' : undefined}
                  >
                    {device.clientId}
                  </a>
                  <span>
                    {device.connections.map(({ protocol }) => protocol).join(', ') || 'away'} ·{' '}
                    {device.inbox === null ? UNKNOWN : number(device.inbox.count)} stored
                  </span>
                </li>
              ))}
            </ul>
            {more && <Note>It has more devices than these {number(all.length)}.</Note>}
          </>
        )}
      </Loaded>
      <footer>
        <Action
          label="Disconnect all devices"
          title={`Disconnect all devices of ${user}?`}
          path="v1/disconnect"
          body={{ user, rate: DISCONNECT_RATE }}
        >
          <p>Their connections end. Most libraries connect again at once.</p>
        </Action>
        <Action
          label="Revoke tokens"
          title={`Revoke the tokens of ${user}?`}
          path="v1/revoke"
          body={{ user }}
          isDangerous
        >
          <p>
            Within a second every edge rejects the tokens that were issued until now, and ends the
            connections with them. It can connect with a new one.
          </p>
        </Action>
      </footer>
    </Card>
  );
}

/** The clients that read slowest, why each of them counts as slow, and the slowest pushes. */
import type { ClientInfo, SlowClientsResponse } from '../../operator/clients/responses.js';
import { type Route, setOption, useFeed } from '../live.js';
import { Card, Loaded, Note } from '../parts.js';
import { ClientTable, SilentEdges } from './client-table.js';
import { FilterForm, filterQuery } from './filter.js';
import { SlowPushesCard } from './slow-pushes.js';

/** Each poll queries all edges. */
const POLL_MS = 3_000;
const SHOWN_MAX = 50;

const MEASURES = {
  bytes: ['bytes waiting', 'No client has bytes waiting: all read what they are sent.'],
  unconfirmed: ['unconfirmed pushes', 'No client has unconfirmed pushes.'],
  drops: ['dropped pushes', 'No push was dropped on a connection that is open now.'],
} as const;

export function SlowView({ route }: { route: Route }) {
  return (
    <>
      <SlowClientsCard route={route} />
      <SlowPushesCard />
    </>
  );
}

function SlowClientsCard({ route }: { route: Route }) {
  const option = route.query.get('by') ?? '';
  const by = option in MEASURES ? (option as keyof typeof MEASURES) : 'bytes';
  const query = filterQuery(route.query);
  query.set('by', by);
  query.set('limit', String(SHOWN_MAX));
  const slow = useFeed<SlowClientsResponse>(`v1/slow?${query}`, POLL_MS);
  return (
    <Card title="Slowest clients">
      <fieldset>
        <legend class="hidden">Slow by</legend>
        {Object.entries(MEASURES).map(([name, [label]]) => (
          <label key={name} class="choice">
            <input
              type="radio"
              name="by"
              checked={by === name}
              onChange={() => setOption('by', name === 'bytes' ? '' : name)}
            />
            By {label}
          </label>
        ))}
      </fieldset>
      <FilterForm route={route} />
      <Loaded feed={slow}>
        {({ clients, silentEdges }) => (
          <>
            <SilentEdges ids={silentEdges} />
            {clients.length === 0 ? (
              <Note level="good">{MEASURES[by][1]}</Note>
            ) : (
              <ClientTable clients={clients} last={['Why', why]} />
            )}
          </>
        )}
      </Loaded>
    </Card>
  );
}

function why({ bytesWaiting, unconfirmed, dropped, protocol }: ClientInfo): string {
  return [
    bytesWaiting > 0 && 'does not read what it is sent',
    dropped > 0 && 'did not read when live-only pushes came',
    unconfirmed > 0 &&
      (protocol === 'sse' ? 'confirms when it reconnects' : 'has not confirmed what it was sent'),
  ]
    .filter(Boolean)
    .join('; ');
}

/** The connected clients that match a filter, a page at a time; or one client. */
import { useEffect } from 'preact/hooks';
import type { ClientsResponse } from '../../operator/clients/responses.js';
import { type Route, useFeed } from '../live.js';
import { Card, Loaded, Note, Search } from '../parts.js';
import { Client } from './client/client.js';
import { ClientTable, clientPath, SilentEdges } from './client-table.js';
import { DisconnectAll, Disconnects } from './disconnects.js';
import { FilterForm, filterBody, filterQuery } from './filter.js';
import { Blocks, Revocations } from './restrictions.js';

/** Each poll queries edges. */
const POLL_MS = 5_000;
const PAGE = 100;

export function ClientsView({ route }: { route: Route }) {
  const { id } = route;
  useEffect(() => document.querySelector<HTMLInputElement>('.search input')?.focus(), []);
  return (
    <>
      <div class="tools">
        <Search
          label="clientId or user"
          value={id}
          onSearch={(name) => {
            location.hash = clientPath(name);
          }}
        />
        <span class="hint">Enter finds it, also if it is away; the key / comes here.</span>
        {id !== '' && <a href="#/clients">All clients</a>}
      </div>
      {id !== '' ? (
        <Client id={id} key={id} />
      ) : (
        <>
          <Connected route={route} />
          <div class="columns">
            <Disconnects />
            <div>
              <Blocks />
              <Revocations />
            </div>
          </div>
        </>
      )}
    </>
  );
}

function Connected({ route }: { route: Route }) {
  const page = route.query.get('page') ?? '';
  const query = withPage(route.query, page);
  query.set('limit', String(PAGE));
  const clients = useFeed<ClientsResponse>(`v1/clients?${query}`, POLL_MS);
  return (
    <Card title="Connected clients">
      <FilterForm route={route} />
      <Loaded feed={clients}>
        {({ clients: found, next, silentEdges }) => (
          <>
            <SilentEdges ids={silentEdges} />
            {found.length > 0 && (
              <ClientTable clients={found} last={['Labels', ({ labels }) => labels]} />
            )}
            {found.length === 0 && (
              <Note>
                {next === null
                  ? 'No connected client is like that.'
                  : 'None on the part of the edges that control could ask in time.'}
              </Note>
            )}
            <nav class="pages" aria-label="Pages">
              {page !== '' && <a href={`#/clients?${withPage(route.query, '')}`}>First page</a>}
              {next !== null && <a href={`#/clients?${withPage(route.query, next)}`}>Next page</a>}
            </nav>
          </>
        )}
      </Loaded>
      <footer>
        <DisconnectAll filter={filterBody(route.query)} />
      </footer>
    </Card>
  );
}

/** The filter with a page; empty: the first one. */
function withPage(options: URLSearchParams, page: string): URLSearchParams {
  const query = filterQuery(options);
  if (page !== '') query.set('page', page);
  return query;
}

/** Disconnects of many clients: the plan, the start and the progress. */
import { useEffect, useState } from 'preact/hooks';
import type { FilterFields } from '../../operator/clients/filter.js';
import type {
  ClientsResponse,
  DisconnectInfo,
  DisconnectsResponse,
} from '../../operator/clients/responses.js';
import { Action } from '../action.js';
import { type ApiError, call } from '../api.js';
import { duration, number, plural, UNKNOWN } from '../format.js';
import { useFeed } from '../live.js';
import { Badge, Bar, Card, Fact, Facts, type Level, Loaded, Note } from '../parts.js';
import { SilentEdges } from './client-table.js';
import { filterText } from './filter.js';

const RATE = 100;
/** More clients than these pages have are not counted. */
const COUNTED_PAGES_MAX = 10;
const COUNTED_PAGE = 1_000;

const STATES: Readonly<Record<DisconnectInfo['state'], Level>> = {
  running: 'accent',
  finished: 'good',
  cancelled: 'dim',
  interrupted: 'warn',
};

export function DisconnectAll({ filter }: { filter: FilterFields }) {
  const [rate, setRate] = useState(RATE);
  const isEmpty = Object.keys(filter).length === 0;
  return (
    <Action
      label="Disconnect these"
      title={`Disconnect ${filterText(filter)}?`}
      path="v1/disconnect"
      body={{ ...filter, ...(isEmpty && { all: true }), rate }}
      isDangerous
    >
      <Plan filter={filter} rate={rate} />
      <label>
        Clients a second, in the whole cluster
        <input
          type="number"
          min={1}
          max={1_000_000}
          required
          value={rate}
          onInput={(event) => setRate(event.currentTarget.valueAsNumber)}
        />
      </label>
    </Action>
  );
}

interface Count {
  readonly clients: number;
  readonly edges: ReadonlySet<string>;
  readonly silentEdges: readonly string[];
  readonly isComplete: boolean;
}

function Plan({ filter, rate }: { filter: FilterFields; rate: number }) {
  const [count, setCount] = useState<Count>();
  const [error, setError] = useState<ApiError>();
  const query = String(
    new URLSearchParams(Object.entries(filter).map(([name, value]) => [name, String(value)])),
  );
  useEffect(() => {
    let isClosed = false;
    countClients(query, (next) => !isClosed && setCount(next)).catch(setError);
    return () => {
      isClosed = true;
    };
  }, [query]);
  if (error !== undefined) {
    return (
      <Note level="bad">
        {error.code} {error.message}
      </Note>
    );
  }
  if (count === undefined) return <Note>Counting…</Note>;
  const { clients, edges, silentEdges, isComplete } = count;
  const least = isComplete ? '' : 'at least ';
  return (
    <>
      <p>
        Control closes their connections; the edges take turns. Clients that connect after the start
        stay. Most libraries connect again at once: block those that must not.
      </p>
      <Facts>
        <Fact name="Clients that match now">
          {least}
          {number(clients)}
        </Fact>
        <Fact name="On">
          {least}
          {plural(edges.size, 'edge')}
        </Fact>
        <Fact name="Takes">{rate >= 1 ? least + duration((1_000 * clients) / rate) : UNKNOWN}</Fact>
      </Facts>
      <SilentEdges ids={silentEdges} />
    </>
  );
}

/** @param onCount called for each page; stops when it returns false */
async function countClients(query: string, onCount: (count: Count) => unknown): Promise<void> {
  let clients = 0;
  const edges = new Set<string>();
  const silentEdges: string[] = [];
  let next: string | null = '';
  for (let i = 0; i < COUNTED_PAGES_MAX && next !== null; i++) {
    const path = `v1/clients?${query}&limit=${COUNTED_PAGE}${next && `&page=${next}`}`;
    const page: ClientsResponse = await call<ClientsResponse>(path);
    clients += page.clients.length;
    for (const { edgeId } of page.clients) edges.add(edgeId);
    silentEdges.push(...page.silentEdges);
    next = page.next;
    if (onCount({ clients, edges, silentEdges, isComplete: next === null }) === false) return;
  }
}

export function Disconnects() {
  const disconnects = useFeed<DisconnectsResponse>('v1/disconnects', 1_000);
  return (
    <Card title="Disconnects">
      <Loaded feed={disconnects}>
        {({ disconnects: all }) =>
          all.length === 0 ? (
            <Note>No clients were disconnected since this control leads.</Note>
          ) : (
            <ul class="jobs">
              {all.map((job) => (
                <Disconnect key={job.id} job={job} />
              ))}
            </ul>
          )
        }
      </Loaded>
    </Card>
  );
}

function Disconnect({ job }: { job: DisconnectInfo }) {
  const { state, clients, edgesDone, edges, rate, actor, reason, ageMs, silentEdges } = job;
  return (
    <li>
      <p>
        <Badge level={STATES[state]}>{state}</Badge> {filterText(job.filter)}
      </p>
      {state === 'running' && (
        <Bar share={edgesDone / (edges || 1)} label="Edges whose clients were all looked at" />
      )}
      <p class="hint">
        {plural(clients, 'client')} disconnected at {number(rate)} a second; {number(edgesDone)} of{' '}
        {plural(edges, 'edge')} done. {actor}, {duration(ageMs)} ago{reason && `: “${reason}”`}
      </p>
      {silentEdges.length > 0 && (
        <Note level="warn">No answer, so their clients stay: {silentEdges.join(', ')}</Note>
      )}
      <footer>
        <Action
          label="Cancel the disconnect"
          title="Cancel the disconnect?"
          path="v1/cancel-disconnect"
          isOffered={state === 'running'}
        >
          <p>The other clients stay connected.</p>
        </Action>
      </footer>
    </li>
  );
}

/** All edges as cards, or one of them in full. */
import type {
  EdgeInfo,
  EdgeResponse,
  EdgesResponse,
  MemoryResponse,
} from '../../operator/cluster-responses.js';
import type { MovesResponse } from '../../operator/operation-responses.js';
import { Action } from '../action.js';
import { problemsOf, searchTextOf } from '../alarms.js';
import { edgePath } from '../api.js';
import { bytes, compact, duration, number, percent, plural, UNKNOWN } from '../format.js';
import { Lazy } from '../lazy.js';
import { type Route, setOption, useFeed } from '../live.js';
import { Badge, Bar, Card, Fact, Facts, type Level, Loaded, Note, Search } from '../parts.js';
import { Drain } from './drain.js';

export function EdgesView({ route: { id, query } }: { route: Route }) {
  const edges = useFeed<EdgesResponse>('v1/edges');
  const moves = useFeed<MovesResponse>('v1/moves');
  const text = query.get('q') ?? '';
  if (id !== '') return <Edge id={id} edges={edges.data?.edges ?? []} moves={moves.data} />;
  return (
    <Loaded feed={edges}>
      {({ edges: all }) => {
        const shown = all.filter((edge) => searchTextOf(edge).includes(text));
        return (
          <>
            <div class="tools">
              <Search
                label="Filter by id, state, intent or problem"
                value={text}
                onSearch={(value) => setOption('q', value)}
                isInstant
              />
              <span class="hint">
                {shown.length === all.length ? '' : `${number(shown.length)} of `}
                {plural(all.length, 'edge')}
              </span>
            </div>
            {shown.length === 0 && (
              <Note>{all.length === 0 ? 'No edge has joined.' : 'No edge is like that.'}</Note>
            )}
            <div class="cards">
              {shown.map((edge) => (
                <Lazy
                  key={edge.id}
                  brief={() => <Card title={<EdgeLink id={edge.id} />}>{''}</Card>}
                >
                  {() => <EdgeCard edge={edge} edges={all} moves={moves.data} />}
                </Lazy>
              ))}
            </div>
          </>
        );
      }}
    </Loaded>
  );
}

interface EdgeProps {
  readonly edge: EdgeInfo;
  readonly edges: readonly EdgeInfo[];
  readonly moves: MovesResponse | undefined;
}

function EdgeCard({ edge, edges, moves }: EdgeProps) {
  const { id, connections, capacity, shardsOwned, guests } = edge;
  const drain = moves?.drains.find(({ edgeId }) => edgeId === id);
  return (
    <Card title={<EdgeLink id={id} />} side={<States edge={edge} />} class="edge">
      <Bar
        share={(connections ?? 0) / (capacity || 1)}
        label={`Connections of the capacity of ${id}`}
      />
      <Facts>
        <Fact name="Connections" title={`${number(connections)} of ${number(capacity)}`}>
          {compact(connections)} <small>of {compact(capacity)}</small>
        </Fact>
        <Fact name="Shards">{number(shardsOwned)}</Fact>
        <Fact name="Guests">{number(guests)}</Fact>
        <Fact name="Memory" title="Resident memory of the process">
          {bytes(edge.memoryBytes)}
        </Fact>
        <Fact name="Event-loop lag" title="99th percentile since its last report but one">
          {duration(edge.eventLoopLagMs)}
        </Fact>
        <Fact name="Version" title={edge.commit ?? 'Its build did not record the commit'}>
          {edge.version ?? UNKNOWN} <small>{edge.commit?.slice(0, 7)}</small>
        </Fact>
        {edge.zone !== '' && <Fact name="Zone">{edge.zone}</Fact>}
      </Facts>
      {problemsOf(edge).map((problem) => (
        <Note key={problem} level="warn">
          {problem}
        </Note>
      ))}
      {drain && <Drain drain={drain} />}
      <Intents edge={edge} edges={edges} />
    </Card>
  );
}

function EdgeLink({ id }: { id: string }) {
  return <a href={`#/edges/${id}`}>{id}</a>;
}

const STATES: Readonly<Record<EdgeInfo['state'], Level>> = {
  alive: 'good',
  suspect: 'bad',
  dead: 'dim',
};

function States({ edge: { state, ready, intent } }: { edge: EdgeInfo }) {
  return (
    <>
      {intent !== null && intent !== 'none' && <Badge level="accent">{intent}</Badge>}
      {state === 'alive' && ready === false && <Badge level="bad">not ready</Badge>}
      <Badge level={STATES[state]}>{state}</Badge>
    </>
  );
}

/** Buttons for what an operator may want of the edge. */
function Intents({ edge, edges }: Omit<EdgeProps, 'moves'>) {
  const { id, intent } = edge;
  const path = edgePath(id);
  if (intent === null) return <Note>Not in the assignment.</Note>;
  return (
    <footer>
      <Action
        label="Drain"
        title={`Drain ${id}?`}
        path={`${path}/drain`}
        isDangerous
        isOffered={intent !== 'draining'}
      >
        <DrainPlan edge={edge} edges={edges} />
      </Action>
      <Action
        label="Cordon"
        title={`Cordon ${id}?`}
        path={`${path}/cordon`}
        isOffered={intent === 'none'}
      >
        <p>
          It keeps its {plural(edge.shardsOwned, 'shard')} and its clients, and gets no more shards.
        </p>
      </Action>
      {(['draining', 'cordoned'] as const).map((ended) => (
        <Action
          key={ended}
          label={ended === 'draining' ? 'Undrain' : 'Uncordon'}
          title={`End what is requested of ${id}?`}
          path={`${path}/undrain`}
          isOffered={intent === ended}
        >
          <p>It is an ordinary edge again: a rebalance or a later move may give it shards.</p>
        </Action>
      ))}
    </footer>
  );
}

function DrainPlan({ edge, edges }: Omit<EdgeProps, 'moves'>) {
  const others = edges.filter(
    ({ id, state, intent }) => id !== edge.id && state === 'alive' && intent === 'none',
  );
  const total = (count: 'capacity' | 'connections') =>
    others.reduce((sum, other) => sum + (other[count] ?? 0), 0);
  const load = (total('connections') + (edge.connections ?? 0)) / (total('capacity') || 1);
  if (others.length === 0) return <Note level="bad">No other edge could get its shards.</Note>;
  return (
    <>
      <p>
        {plural(edge.shardsOwned, 'shard')} and {plural(edge.connections, 'client')} move to{' '}
        {plural(others.length, 'other edge')}, at the pace that these can take. No stored push is
        lost.
      </p>
      <Facts>
        <Fact name="Load of the others now">
          {percent(total('connections') / (total('capacity') || 1))}
        </Fact>
        <Fact name="Afterwards">{percent(load)}</Fact>
      </Facts>
      {load > 0.9 && <Note level="warn">The others will be nearly full.</Note>}
    </>
  );
}

function Edge({ id, edges, moves }: Omit<EdgeProps, 'edge'> & { id: string }) {
  const detail = useFeed<EdgeResponse>(edgePath(id));
  const memory = useFeed<MemoryResponse>(`${edgePath(id)}/memory`, 5_000);
  return (
    <Loaded feed={detail}>
      {({ edge, shards }) => (
        <div class="columns">
          <div>
            <EdgeCard edge={edge} edges={edges} moves={moves} />
            <Card title="Process">
              <Facts>
                <Fact name="Address">{edge.advertisedUrl}</Fact>
                <Fact name="Last report">
                  {edge.lastReportAgeMs === null
                    ? UNKNOWN
                    : `${duration(edge.lastReportAgeMs)} ago`}
                </Fact>
                <Fact name="Subscribed">
                  {number(edge.shardsSubscribed)}{' '}
                  <small>of {plural(edge.shardsOwned, 'shard')}</small>
                </Fact>
                <Fact name="Incarnation">
                  <code>{edge.incarnation}</code>
                </Fact>
              </Facts>
              <p>
                <a href={`#/clients?edge=${id}`}>Its clients</a> ·{' '}
                <a href={`#/events?q=${id}`}>Its events</a>
              </p>
            </Card>
            <Card
              title={plural(shards.length, 'shard')}
              side={<a href={`#/shards?q=${id}`}>On the map</a>}
            >
              <p class="shard-list">{shards.join(' ')}</p>
            </Card>
          </div>
          <Card title="Memory">
            <Loaded feed={memory}>{(data) => <Memory {...data} />}</Loaded>
          </Card>
        </div>
      )}
    </Loaded>
  );
}

/** With fewer, what the heap does at any time is more than they cost. */
const TELLING_CONNECTIONS = 1_000;

/** Bars are relative to the largest part. */
function Memory({ parts, connections }: MemoryResponse) {
  const perConnection = parts.reduce((sum, part) => sum + part.bytesPerConnection, 0);
  const largest = Math.max(1, ...parts.map((part) => part.bytes));
  const isTelling = connections >= TELLING_CONNECTIONS;
  return (
    <>
      <p>
        {bytes(parts.reduce((sum, part) => sum + part.bytes, 0))}
        {isTelling
          ? ` · ${bytes(perConnection)} per connection`
          : ` · what one costs is known from ${number(TELLING_CONNECTIONS)} connections`}
      </p>
      <table>
        <thead>
          <tr>
            <th>Part</th>
            <th class="wide">Compared</th>
            <th class="right">Size</th>
            {isTelling && <th class="right">Per connection</th>}
          </tr>
        </thead>
        <tbody>
          {parts.map((part) => (
            <tr key={part.name} title={part.meaning}>
              <td>{part.name}</td>
              <td class="wide">
                <Bar
                  share={part.bytes / largest}
                  level="dim"
                  label={`${part.name} compared with the largest part`}
                />
              </td>
              <td class="right">{bytes(part.bytes)}</td>
              {isTelling && <td class="right">{bytes(part.bytesPerConnection)}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

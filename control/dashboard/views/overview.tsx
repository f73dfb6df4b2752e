/** Alarms first, then the numbers of the cluster with their last 15 minutes. */
import type { ComponentChildren } from 'preact';
import type { CanariesResponse } from '../../operator/canaries.js';
import type {
  ClusterResponse,
  EdgesResponse,
  HistoryResponse,
  MembersResponse,
} from '../../operator/cluster-responses.js';
import type { MovesResponse } from '../../operator/operation-responses.js';
import { type Alarm, alarmsOf } from '../alarms.js';
import { Chart, type Line } from '../chart.js';
import { compact, duration, number, percent, plural } from '../format.js';
import { type Feed, useEvents, useFeed } from '../live.js';
import { Badge, Bar, Card, Fact, Facts, Loaded, Note } from '../parts.js';
import { EventList } from './events.js';
import { LedgerCard } from './ledger.js';
import { CanaryCards } from './overview/canaries.js';

const EVENTS_SHOWN = 12;
const HISTORY_MS = 5_000;
const MEMBERS_MS = 5_000;
const CANARIES_MS = 5_000;
const ROUTERS_SHOWN = 20;

/** Colours of verdicts: handed over, kept, dropped. */
const VERDICT_COLOURS: Readonly<Record<string, string>> = {
  WRITTEN: 'good',
  ACKED: 'good',
  STORED: 'accent',
  DUPLICATE: 'dim',
  OFFLINE: 'dim',
  SLOW: 'warn',
  SKIPPED: 'warn',
  UNKNOWN: 'bad',
};

export function OverviewView() {
  const cluster = useFeed<ClusterResponse>('v1/cluster');
  const edges = useFeed<EdgesResponse>('v1/edges');
  const moves = useFeed<MovesResponse>('v1/moves');
  const history = useFeed<HistoryResponse>('v1/history', HISTORY_MS);
  const members = useFeed<MembersResponse>('v1/members', MEMBERS_MS);
  const canaries = useFeed<CanariesResponse>('v1/canaries', CANARIES_MS);
  return (
    <Loaded feed={cluster}>
      {(shown) => (
        <>
          <Alarms
            sources={[cluster, edges, moves, members, canaries]}
            alarms={alarmsOf({
              cluster: shown,
              edges: edges.data?.edges ?? [],
              moves: moves.data,
              members: members.data,
              canaries: canaries.data,
            })}
          />
          <Loaded feed={history}>
            {(past) => <Numbers cluster={shown} edges={edges.data?.edges ?? []} history={past} />}
          </Loaded>
          <div class="columns">
            <div>
              <Card title="Load of edges" side={<a href="#/edges">All edges</a>}>
                <Loaded feed={edges}>{(data) => <Loads {...data} />}</Loaded>
              </Card>
              <Card title="Controls and routers">
                <Loaded feed={members}>{(data) => <Members {...data} />}</Loaded>
              </Card>
            </div>
            <div>
              <LedgerCard />
              <CanaryCards {...(canaries.data ?? { canaries: [] })} />
              <Card title="Latest events" side={<a href="#/events">All events</a>}>
                <LatestEvents />
              </Card>
            </div>
          </div>
        </>
      )}
    </Loaded>
  );
}

/** Apart from the rest, which need not be drawn again for each event. */
function LatestEvents() {
  const { events, state } = useEvents();
  return <EventList events={events.slice(-EVENTS_SHOWN)} state={state} />;
}

interface AlarmsProps {
  readonly sources: readonly Feed<unknown>[];
  readonly alarms: readonly Alarm[];
}

function Alarms({ sources, alarms }: AlarmsProps) {
  const isCurrent = sources.every(({ error }) => error === undefined);
  const isComplete = sources.every(({ data }) => data !== undefined);
  if (alarms.length === 0 && !isCurrent) return <Note>Not known now whether all is well.</Note>;
  if (alarms.length === 0 && !isComplete) return <Note>Loading…</Note>;
  if (alarms.length === 0) return <Note level="good">All is well.</Note>;
  return (
    <ul class="alarms" aria-label="Alarms">
      {alarms.map(({ name, level, text, href }) => (
        <li key={text} class={level}>
          <a href={href}>
            {text} <small>{name}</small>
          </a>
        </li>
      ))}
    </ul>
  );
}

interface NumbersProps extends EdgesResponse {
  readonly cluster: ClusterResponse;
  readonly history: HistoryResponse;
}

function Numbers({ cluster, edges, history }: NumbersProps) {
  const { pushesPerSecond, p50Ms, p99Ms, connectsPerSecond, eventsPerSecond } = history;
  const capacity = edges.reduce((sum, { capacity: each }) => sum + (each ?? 0), 0);
  const verdicts = Object.entries(pushesPerSecond);
  const line = (name: string, values: Line['values'], colour = 'accent') => ({
    name,
    values,
    colour,
  });
  return (
    <div class="tiles">
      <Tile
        title="Connections"
        value={number(cluster.connections)}
        aside={
          capacity > 0 &&
          `${percent(cluster.connections / capacity)} of capacity, ${plural(cluster.guests, 'guest')}`
        }
        atMs={history.atMs}
        lines={[line('connections', history.connections)]}
      />
      <Tile
        title="Pushes a second"
        value={compact(verdicts.reduce((sum, [, values]) => sum + (values.at(-1) ?? 0), 0))}
        aside={verdicts.map(([name, values]) => (
          <span key={name} class={VERDICT_COLOURS[name] ?? 'accent'}>
            <i /> {name} {compact(values.at(-1))}
          </span>
        ))}
        atMs={history.atMs}
        lines={verdicts.map(([name, values]) => line(name, values, VERDICT_COLOURS[name]))}
      />
      <Tile
        title="Time to a verdict"
        value={duration(p50Ms.at(-1))}
        aside={p99Ms.at(-1) != null && `median; 99 % within ${duration(p99Ms.at(-1))}`}
        atMs={history.atMs}
        format={duration}
        lines={[line('p50', p50Ms), line('p99', p99Ms, 'warn')]}
      />
      <Tile
        title="Connects a second"
        value={compact(connectsPerSecond.at(-1))}
        aside="new and returning clients"
        atMs={history.atMs}
        lines={[line('connects', connectsPerSecond)]}
      />
      <Tile
        title="Events a second"
        value={compact(eventsPerSecond.at(-1))}
        aside="of the log"
        atMs={history.atMs}
        lines={[line('events', eventsPerSecond)]}
      />
      <Card title="Members">
        <Facts>
          <Fact name="Edges alive">
            {number(cluster.edgesAlive)} <small>of {number(edges.length)}</small>
          </Fact>
          <Fact name="Routers that report">{number(history.routers.length)}</Fact>
          <Fact name="Leading control">{cluster.leader ?? <Badge level="bad">none</Badge>}</Fact>
          <Fact name="Redis masters">
            {cluster.redisMasters.map(({ address, delivers }) => (
              <Badge key={address} level={delivers ? 'good' : 'bad'}>
                {address}
              </Badge>
            ))}
          </Fact>
          <Fact name="Balance" title="Shards of the largest edge, compared with the mean">
            {cluster.shardsMaxOverMean.toFixed(2)} <small>of the mean</small>
          </Fact>
        </Facts>
      </Card>
    </div>
  );
}

interface TileProps {
  readonly title: string;
  readonly value: string;
  readonly aside: ComponentChildren;
  readonly atMs: readonly number[];
  readonly lines: readonly Line[];
  readonly format?: (value: number) => string;
}

function Tile({ title, value, aside, atMs, lines, format = compact }: TileProps) {
  const hasValues = lines.some(({ values }) => values.some((value) => value !== null));
  return (
    <Card title={title}>
      <p class="value">
        {value} <small>{aside}</small>
      </p>
      {atMs.length > 1 && hasValues ? (
        <Chart label={title} atMs={atMs} lines={lines} format={format} />
      ) : (
        <p class="hint">
          {!hasValues
            ? 'None in the last 15 minutes.'
            : 'The leader has begun to count; in ten seconds there is more.'}
        </p>
      )}
    </Card>
  );
}

function Loads({ edges }: EdgesResponse) {
  if (edges.length === 0) return <Note>No edge has joined.</Note>;
  return (
    <>
      <p class="hint">Connections, and their share of the capacity.</p>
      <ul class="loads">
        {edges.map(({ id, connections, capacity, ready }) => (
          <li key={id}>
            <a href={`#/edges/${id}`}>{id}</a>
            <Bar
              share={(connections ?? 0) / (capacity || 1)}
              level={ready === false ? 'bad' : 'accent'}
              label={`Connections of the capacity of ${id}`}
            />
            <span title={`${plural(connections, 'connection')} of ${number(capacity)}`}>
              {compact(connections)}{' '}
              {connections !== null && <small>{percent(connections / (capacity || 1))}</small>}
            </span>
          </li>
        ))}
      </ul>
    </>
  );
}

function Members({ controls, routers, settings }: MembersResponse) {
  return (
    <>
      {settings.map(({ name, groups }) => (
        <Note key={name} level="warn">
          <code>{name}</code> differs:{' '}
          {groups
            .map(({ processes, ids }) => ids.join(', ') + (processes > ids.length ? ', …' : ''))
            .join(' | ')}
        </Note>
      ))}
      <ul class="restrictions">
        {controls.map(({ id, leads, silent, lastNoteAgeMs, ...build }) => (
          <li key={id}>
            <b>{id}</b>
            <span>
              {leads && <Badge level="accent">leads</Badge>}{' '}
              {silent && <Badge level="bad">silent for {duration(lastNoteAgeMs)}</Badge>}{' '}
              {buildText(build)}
            </span>
          </li>
        ))}
        {routers.slice(0, ROUTERS_SHOWN).map(({ id, ...build }) => (
          <li key={id}>
            <b>{id}</b>
            <span>{buildText(build)}</span>
          </li>
        ))}
      </ul>
      {routers.length === 0 && <Note>No router has reported to the leader yet.</Note>}
      {routers.length > ROUTERS_SHOWN && (
        <Note>and {plural(routers.length - ROUTERS_SHOWN, 'more router')}</Note>
      )}
    </>
  );
}

function buildText({ version, commit }: { version: string; commit: string }): string {
  return version === '' ? 'build not known' : `${version} ${commit.slice(0, 7)}`;
}

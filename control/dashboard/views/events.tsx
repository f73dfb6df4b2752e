/** The event log: who did what, when and why. */
import type { EventInfo } from '../../operator/operation-responses.js';
import { clockTime, dateTime, describeEvent, number } from '../format.js';
import { type EventLog, type Route, setOption, useEvents } from '../live.js';
import { Badge, Card, type Level, Note, Search } from '../parts.js';

/** More rows take long to draw and are not read; the filter finds older ones. */
const SHOWN_MAX = 500;

const LEVELS: Readonly<Partial<Record<EventInfo['type'], Level>>> = {
  operator: 'accent',
  'intent-changed': 'accent',
  frozen: 'bad',
  'assignment-invalid': 'bad',
  'history-abandoned': 'bad',
  'edge-left': 'warn',
  'edge-partitioned': 'warn',
  'edge-rejected': 'warn',
  'report-rejected': 'warn',
  'clients-disconnected': 'accent',
  'client-reconnecting': 'warn',
  'push-skipped': 'warn',
  'move-rolled-back': 'warn',
  'leader-changed': 'warn',
  'edge-joined': 'good',
  'edge-recovered': 'good',
  unfrozen: 'good',
};

export function EventsView({ route: { query } }: { route: Route }) {
  const { events, state } = useEvents();
  const text = query.get('q') ?? '';
  const type = query.get('type') ?? '';
  const types = [...new Set(events.map((event) => event.type))].sort();
  if (type !== '' && !types.includes(type as EventInfo['type']))
    types.push(type as EventInfo['type']);
  const found = events.filter(
    (event) =>
      (type === '' || event.type === type) &&
      (text === '' || `${event.type} ${describeEvent(event)}`.includes(text)),
  );
  return (
    <Card>
      <div class="tools">
        <Search
          label="Filter by any text"
          value={text}
          onSearch={(value) => setOption('q', value)}
          isInstant
        />
        <select
          aria-label="Type"
          value={type}
          onChange={(event) => setOption('type', event.currentTarget.value)}
        >
          <option value="">All types</option>
          {types.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
        <span class="hint">
          {number(found.length)} of {number(events.length)}
          {found.length > SHOWN_MAX && `, the latest ${SHOWN_MAX} shown`}
        </span>
      </div>
      <EventList events={found.slice(-SHOWN_MAX)} state={state} isLong />
    </Card>
  );
}

/** Newest first. */
export function EventList({ events, state, isLong = false }: EventLog & { isLong?: boolean }) {
  return (
    <>
      {state === 'lost' && <Note level="bad">Control does not send events now. Trying again.</Note>}
      {events.length === 0 && state !== 'lost' && (
        <Note>{state === 'live' ? 'No such event yet.' : 'Loading…'}</Note>
      )}
      <ol class={isLong ? 'events long' : 'events'}>
        {events.toReversed().map((event) => (
          <li key={event.id}>
            <time title={dateTime(event.atMs)}>{clockTime(event.atMs)}</time>
            <Badge level={LEVELS[event.type] ?? 'dim'}>{event.type}</Badge>
            <span>{describeEvent(event)}</span>
          </li>
        ))}
      </ol>
    </>
  );
}

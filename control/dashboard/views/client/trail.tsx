/** Events of a client and changes of its state, while the page is open. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { TrailResponse } from '../../../operator/clients/responses.js';
import type { ClientResponse } from '../../../operator/cluster-responses.js';
import { changesOf, linesOf, type TrailLine, withoutKnown } from '../../changes.js';
import { clockTime, dateTime } from '../../format.js';
import { type Continuation, useFeed } from '../../live.js';
import { Badge, Card, type Level, Note, Stale } from '../../parts.js';

const POLL_MS = 2_000;
const LINES_MAX = 200;

const LEVELS: Readonly<Record<string, Level>> = {
  connected: 'good',
  'client.connected': 'good',
  disconnected: 'warn',
  'client.disconnected': 'warn',
  confirmed: 'accent',
  'push.confirmed': 'accent',
  'push.unread': 'warn',
  gone: 'bad',
};

/** Only new events are read: control looks for them among those of all clients of the shard. */
const CONTINUATION: Continuation<TrailResponse> = {
  query: ({ newestId }) => (newestId === null ? '' : `after=${newestId}`),
  join: ({ events }, next) => ({ ...next, events: [...events, ...next.events].slice(-LINES_MAX) }),
};

export function Trail({ client }: { client: ClientResponse }) {
  const path = `v1/client-events/${encodeURIComponent(client.clientId)}`;
  const trail = useFeed(path, POLL_MS, CONTINUATION);
  const changes = useChanges(client);
  const events = trail.data === undefined ? [] : linesOf(trail.data);
  const lines = [...withoutKnown(changes, events), ...events].sort((a, b) => b.atMs - a.atMs);
  return (
    <Card title="What happens to it" side={<Badge level="dim">live</Badge>}>
      <Stale feed={trail} />
      <p class="hint">{sourceOf(trail.data)}</p>
      {lines.length === 0 && <Note>Nothing has happened since this page was opened.</Note>}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls. */}
      <ol class="events tail" aria-live="polite" tabIndex={0}>
        {lines.slice(0, LINES_MAX).map(({ key, atMs, type, text }) => (
          <li key={key}>
            <time title={dateTime(atMs)}>{clockTime(atMs)}</time>
            <Badge level={LEVELS[type] ?? 'dim'}>{type}</Badge>
            <span>{text}</span>
          </li>
        ))}
      </ol>
    </Card>
  );
}

function sourceOf(trail: TrailResponse | undefined): string {
  if (trail === undefined) return 'Loading…';
  return trail.areKept
    ? 'From the events of the cluster, read every 2 s, and from changes of its state.'
    : 'From changes of its state, read every 3 s: what comes and goes in between is not seen. With ' +
        'LONGLINE_EVENTS, events are shown.';
}

/** Changes of the state of a client, from read to read. */
function useChanges(client: ClientResponse): readonly TrailLine[] {
  const last = useRef(client);
  const [changes, setChanges] = useState<readonly TrailLine[]>([]);
  useEffect(() => {
    const found = changesOf(last.current, client, Date.now());
    last.current = client;
    if (found.length > 0) setChanges((known) => [...known, ...found].slice(-LINES_MAX));
  }, [client]);
  return changes;
}

/**
 * Data that stays current while it is shown: a feed polls its path while a component uses it and
 * the page is visible, and keeps the last data when control does not answer.
 */
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { EventInfo } from '../operator/operation-responses.js';
import { type ApiError, call } from './api.js';

export interface Feed<Data> {
  /** The last answer; undefined until the first one. */
  readonly data: Data | undefined;
  /** Why `data` is not current. */
  readonly error: ApiError | undefined;
  /** When `data` was current, by the page's monotonic clock. */
  readonly freshAtMs: number;
  refresh(): void;
}

/** How a feed adds to its data, instead of reading all of it again. */
export interface Continuation<Data> {
  /** Query of the next read. */
  readonly query: (data: Data) => string;
  readonly join: (data: Data, next: Data) => Data;
}

class PolledFeed<Data> implements Feed<Data> {
  data: Data | undefined;
  error: ApiError | undefined;
  freshAtMs = performance.now();
  readonly users = new Set<() => void>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isBusy = false;

  constructor(
    readonly path: string,
    readonly everyMs: number,
    readonly continuation: Continuation<Data> | undefined,
  ) {}

  readonly refresh = () => {
    clearTimeout(this.#timer);
    if (!this.#isBusy && this.users.size > 0 && !document.hidden) void this.#load();
  };

  async #load(): Promise<void> {
    this.#isBusy = true;
    try {
      this.data = await this.#read();
      this.error = undefined;
      this.freshAtMs = performance.now();
    } catch (error) {
      this.error = error as ApiError;
    }
    this.#isBusy = false;
    for (const update of this.users) update();
    this.#timer = setTimeout(this.refresh, this.everyMs);
  }

  async #read(): Promise<Data> {
    const { data, path, continuation } = this;
    if (data === undefined || continuation === undefined) return call<Data>(path);
    return continuation.join(data, await call<Data>(`${path}?${continuation.query(data)}`));
  }
}

/**
 * By path; a feed without users is kept, so that a view that is opened again shows data at once.
 */
const feeds = new Map<string, PolledFeed<unknown>>();
const FEEDS_MAX = 50;

export function refreshAll(): void {
  for (const feed of feeds.values()) feed.refresh();
}

document.addEventListener('visibilitychange', refreshAll);

/** @param continuation one object for each path */
export function useFeed<Data>(
  path: string,
  everyMs = 2_000,
  continuation?: Continuation<Data>,
): Feed<Data> {
  const [, update] = useState({});
  const feed = useMemo(
    () => feedOf<Data>(path, everyMs, continuation),
    [path, everyMs, continuation],
  );
  useEffect(() => {
    const user = () => update({});
    feed.users.add(user);
    feed.refresh();
    return () => void feed.users.delete(user);
  }, [feed]);
  return feed;
}

function feedOf<Data>(
  path: string,
  everyMs: number,
  continuation: Continuation<Data> | undefined,
): PolledFeed<Data> {
  const known = feeds.get(path) as PolledFeed<Data> | undefined;
  const feed = known ?? new PolledFeed<Data>(path, everyMs, continuation);
  feeds.delete(path);
  feeds.set(path, feed as PolledFeed<unknown>);
  for (const [oldest, { users }] of feeds) {
    if (feeds.size > FEEDS_MAX && users.size === 0) feeds.delete(oldest);
  }
  return feed;
}

/** More than control keeps. */
const EVENTS_MAX = 10_000;
const DRAW_MS = 250;

export interface EventLog {
  /** Oldest first. */
  readonly events: readonly EventInfo[];
  readonly state: 'connecting' | 'live' | 'lost';
}

/** The event log, live while the page is visible. */
export function useEvents(): EventLog {
  const [log, setLog] = useState<EventLog>({ events: [], state: 'connecting' });
  useEffect(() => {
    let source: EventSource | undefined;
    let received: EventInfo[] = [];
    let newest = 0;
    const follow = () => {
      source?.close();
      if (document.hidden) return;
      source = new EventSource(`v1/events?after=${newest}`);
      source.onopen = () => setLog(({ events }) => ({ events, state: 'live' }));
      source.onerror = () => setLog(({ events }) => ({ events, state: 'lost' }));
      source.onmessage = ({ data }) => {
        const event = JSON.parse(data) as EventInfo;
        newest = event.id;
        received.push(event);
      };
    };
    // Thousands may arrive at once: they are drawn together.
    const timer = setInterval(() => {
      if (source?.readyState === EventSource.CLOSED) follow();
      if (received.length === 0) return;
      const added = received;
      received = [];
      setLog(({ events, state }) => ({ events: [...events, ...added].slice(-EVENTS_MAX), state }));
    }, DRAW_MS);
    follow();
    document.addEventListener('visibilitychange', follow);
    return () => {
      document.removeEventListener('visibilitychange', follow);
      clearInterval(timer);
      source?.close();
    };
  }, []);
  return log;
}

/** The view, its object and its options, from the URL: `#/edges/edge-1?by=load`. */
export interface Route {
  readonly view: string;
  readonly id: string;
  readonly query: URLSearchParams;
}

export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2);
  const slash = path.indexOf('/');
  const [view, id] = slash < 0 ? [path, ''] : [path.slice(0, slash), path.slice(slash + 1)];
  return { view: view || 'overview', id: decode(id), query: new URLSearchParams(query) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const onChange = () => setHash(location.hash);
    addEventListener('hashchange', onChange);
    return () => removeEventListener('hashchange', onChange);
  }, []);
  return useMemo(() => parseRoute(hash), [hash]);
}

/** Changes an option of the view without a new entry in the browser's history. */
export function setOption(name: string, value: string): void {
  const [path, query] = location.hash.split('?', 2);
  const options = new URLSearchParams(query);
  if (value === '') options.delete(name);
  else options.set(name, value);
  const text = options.toString();
  location.replace(`${path || '#/overview'}${text && `?${text}`}`);
}

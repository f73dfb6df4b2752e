/** Parts that the views share. */
import { type ComponentChildren, createContext, type JSX } from 'preact';
import { useContext, useEffect, useState } from 'preact/hooks';
import { duration } from './format.js';
import type { Feed } from './live.js';

export type Level = 'good' | 'warn' | 'bad' | 'dim' | 'accent';

export function Badge({ level, children }: { level: Level; children: ComponentChildren }) {
  return <span class={`badge ${level}`}>{children}</span>;
}

interface CardProps {
  readonly title?: ComponentChildren;
  readonly side?: ComponentChildren;
  readonly class?: string;
  readonly children: ComponentChildren;
}

export function Card({ title, side, children, class: name = '' }: CardProps) {
  return (
    <section class={`card ${name}`}>
      {(title || side) && (
        <header>
          <h2>{title}</h2>
          <div class="side">{side}</div>
        </header>
      )}
      {children}
    </section>
  );
}

/** @param share 0 to 1 */
export function Bar({
  share,
  level = 'accent',
  label,
}: {
  share: number;
  level?: Level;
  label: string;
}) {
  const value = Math.round(100 * Math.min(1, Math.max(0, share)));
  return (
    <div
      class={`bar ${level}`}
      role="progressbar"
      aria-label={label}
      aria-valuenow={value}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <div style={{ width: `${value}%` }} />
    </div>
  );
}

/** Names and values. */
export function Facts({ children }: { children: ComponentChildren }) {
  return <dl class="facts">{children}</dl>;
}

export function Fact({
  name,
  title,
  children,
}: {
  name: string;
  title?: string;
  children: ComponentChildren;
}) {
  return (
    <div title={title}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** A state in which there is nothing to show, with the reason. */
export function Note({ level = 'dim', children }: { level?: Level; children: ComponentChildren }) {
  return (
    <p class={`note ${level}`} role={level === 'bad' ? 'alert' : 'status'}>
      {children}
    </p>
  );
}

/**
 * Shows the data of a feed, and whether it is current; before the first answer, why there is none.
 */
export function Loaded<Data>({
  feed,
  children,
}: {
  feed: Feed<Data>;
  children: (data: Data) => JSX.Element;
}) {
  if (feed.data !== undefined) {
    return (
      <>
        <Stale feed={feed} />
        {children(feed.data)}
      </>
    );
  }
  if (feed.error === undefined) return <Note>Loading…</Note>;
  const { code, message } = feed.error;
  return (
    <Note level="bad">
      {code && <Badge level="bad">{code}</Badge>} {message}
    </Note>
  );
}

/** Whether the page says already that control is away: then its parts do not repeat that. */
export const AwayContext = createContext(false);

/** Says since when the data of a feed is not current, and why; nothing while it is. */
export function Stale({ feed }: { feed: Feed<unknown> }) {
  const [, tick] = useState(0);
  const isKnown = useContext(AwayContext);
  const isStale = feed.error !== undefined && !isKnown;
  useEffect(() => {
    if (!isStale) return undefined;
    const timer = setInterval(() => tick((count) => count + 1), 1_000);
    return () => clearInterval(timer);
  }, [isStale]);
  if (feed.error === undefined || isKnown) return null;
  const age = duration(Math.round((performance.now() - feed.freshAtMs) / 1_000) * 1_000);
  return (
    <Note level="bad">
      {feed.data === undefined ? '' : `Not current: this was so ${age} ago. `}
      {feed.error.message}
      {'. Trying again.'}
    </Note>
  );
}

interface SearchProps {
  readonly label: string;
  readonly value: string;
  readonly onSearch: (value: string) => void;
  /** Whether it reports every key, not only Enter. */
  readonly isInstant?: boolean;
}

export function Search({ label, value, onSearch, isInstant = false }: SearchProps) {
  return (
    <form
      class="search"
      onSubmit={(event) => {
        event.preventDefault();
        onSearch(new FormData(event.currentTarget).get('text') as string);
      }}
    >
      <input
        name="text"
        type="search"
        key={isInstant ? '' : value}
        defaultValue={value}
        aria-label={label}
        placeholder={label}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => isInstant && onSearch(event.currentTarget.value)}
      />
    </form>
  );
}

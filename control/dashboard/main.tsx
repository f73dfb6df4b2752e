/** The page: navigation, session, and the view of the URL. */
import { Component, type ComponentChildren, render } from 'preact';
import { useCallback, useEffect, useState } from 'preact/hooks';
import 'uplot/dist/uPlot.min.css';
import './style.css';
import type { ClusterResponse } from '../operator/cluster-responses.js';
import type { SessionResponse } from '../operator/http/sessions.js';
import { SessionContext } from './action.js';
import { call } from './api.js';
import { refreshAll, useFeed, useRoute } from './live.js';
import { AwayContext, Badge, Note, Stale } from './parts.js';
import { applyScheme, toggleScheme } from './scheme.js';
import { ClientsView } from './views/clients.js';
import { EdgesView } from './views/edges.js';
import { EventsView } from './views/events.js';
import { MovesView } from './views/moves.js';
import { OverviewView } from './views/overview.js';
import { ShardsView } from './views/shards.js';
import { SignIn } from './views/sign-in.js';
import { SlowView } from './views/slow.js';

/** In the order of the keys 1 to 7. */
const VIEWS = {
  overview: ['Overview', OverviewView],
  edges: ['Edges', EdgesView],
  shards: ['Shards', ShardsView],
  moves: ['Moves', MovesView],
  clients: ['Clients', ClientsView],
  slow: ['Slow', SlowView],
  events: ['Events', EventsView],
} as const;

function App() {
  const cluster = useFeed<ClusterResponse>('v1/cluster');
  const [session, setSession] = useState<SessionResponse>();
  const status = cluster.error?.status;
  const load = useCallback(() => {
    call<SessionResponse>('session')
      .then(setSession)
      .catch(() => {});
    refreshAll();
  }, []);
  // Again when control answers again, or does not know the session any more.
  useEffect(load, [status]);
  if (session === undefined)
    return <main>{status === undefined ? <Note>Loading…</Note> : <Stale feed={cluster} />}</main>;
  if (session.actor === null || status === 401) {
    return <SignIn onDone={load} isAgain={cluster.data !== undefined} />;
  }
  return (
    <SessionContext.Provider value={session}>
      <Page cluster={cluster} session={session} onSignOut={load} />
    </SessionContext.Provider>
  );
}

interface PageProps {
  readonly cluster: ReturnType<typeof useFeed<ClusterResponse>>;
  readonly session: SessionResponse;
  readonly onSignOut: () => void;
}

function Page({ cluster, session, onSignOut }: PageProps) {
  const route = useRoute();
  const [title, View] = VIEWS[route.view as keyof typeof VIEWS] ?? ['', undefined];
  useEffect(() => {
    document.title = `${[route.id, title].filter(Boolean).join(' · ')} · Longline`;
  }, [route.id, title]);
  useEffect(() => {
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  const signOut = () => call('session', undefined, 'DELETE').finally(onSignOut);
  return (
    <>
      <header class="top">
        <a class="logo" href="#/overview">
          Longline
        </a>
        <nav aria-label="Views">
          {Object.entries(VIEWS).map(([name, [label]], i) => (
            <a
              key={name}
              href={`#/${name}`}
              title={`Key ${i + 1}`}
              aria-current={route.view === name ? 'page' : undefined}
            >
              {label}
            </a>
          ))}
        </nav>
        <div class="who">
          <Badge level={session.mayWrite ? 'accent' : 'dim'}>
            {session.isOpen
              ? 'no tokens'
              : `${session.actor} · ${session.mayWrite ? 'operator' : 'viewer'}`}
          </Badge>
          <button type="button" class="plain" onClick={toggleScheme} title="Dark or light">
            ◐<span class="hidden">Dark or light</span>
          </button>
          {!session.isOpen && (
            <button type="button" class="plain" onClick={signOut}>
              Sign out
            </button>
          )}
        </div>
      </header>
      <main>
        <h1 class="hidden">{[title, route.id].filter(Boolean).join(' ')}</h1>
        <Stale feed={cluster} />
        <BuildNote commit={cluster.data?.build.commit} />
        <Guard key={`${route.view}/${route.id}`}>
          <AwayContext.Provider value={cluster.error !== undefined}>
            {View === undefined ? <Note>No such view: {route.view}</Note> : <View route={route} />}
          </AwayContext.Provider>
        </Guard>
      </main>
      <footer class="bottom">
        {cluster.data && (
          <>
            <span>
              Leader <b>{cluster.data.leader ?? 'none'}</b>
            </span>
            <span>
              Assignment {cluster.data.position.incarnation}.{cluster.data.position.epoch}
            </span>
            <span>
              Version {cluster.data.build.version} {cluster.data.build.commit.slice(0, 7)}
            </span>
          </>
        )}
      </footer>
    </>
  );
}

/** A control of another build may answer otherwise than the page expects. */
function BuildNote({ commit }: { commit: string | undefined }) {
  const [first, setFirst] = useState(commit);
  if (first === undefined && commit !== undefined) setFirst(commit);
  if (first === undefined || commit === undefined || first === commit) return null;
  return (
    <Note level="warn">
      Control was updated since this page was opened. <Reload />
    </Note>
  );
}

function Reload() {
  return (
    <button type="button" onClick={() => location.reload()}>
      Reload
    </button>
  );
}

class Guard extends Component<{ children: ComponentChildren }, { error?: Error }> {
  static override getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    if (error === undefined) return this.props.children;
    return (
      <Note level="bad">
        This view cannot show what control answers; it may be another version ({error.message}).{' '}
        <Reload />
      </Note>
    );
  }
}

function onKey({ key, target, ctrlKey, metaKey, altKey }: KeyboardEvent): void {
  if (ctrlKey || metaKey || altKey || (target as Element).closest('input, select, dialog')) return;
  const view = Object.keys(VIEWS)[Number(key) - 1];
  if (view !== undefined) location.hash = `#/${view}`;
  if (key === '/') location.hash = '#/clients';
}

applyScheme();
render(<App />, document.body);

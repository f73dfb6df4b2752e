/** Moves in progress, the plan of a rebalance, and the buttons to steer both. */
import { useState } from 'preact/hooks';
import type { MovesResponse, PlanResponse } from '../../operator/operation-responses.js';
import { Action } from '../action.js';
import { type ApiError, call } from '../api.js';
import { duration, eta, number, plural } from '../format.js';
import { useEvents, useFeed } from '../live.js';
import { Badge, Card, Fact, Facts, Loaded, Note } from '../parts.js';
import { Drain } from './drain.js';
import { EventList } from './events.js';

const MOVES_SHOWN_MAX = 100;
const HISTORY_SHOWN = 50;

const REASONS: Readonly<Record<MovesResponse['paceReason'], string>> = {
  idle: 'the receiving edges have spare capacity',
  pressure: 'a receiving edge is overloaded',
  held: 'a report is missing',
  stopped: 'a receiving edge has died',
  'nothing-to-do': 'no clients to move',
};

export function MovesView() {
  const moves = useFeed<MovesResponse>('v1/moves', 1_000);
  const { events, state } = useEvents();
  const history = events.filter(({ type }) =>
    /^(move|balancing|intent|operator|shards)/.test(type),
  );
  return (
    <Loaded feed={moves}>
      {(shown) => (
        <div class="columns">
          <div>
            <Now moves={shown} />
            {shown.drains.map((drain) => (
              <Card
                key={drain.edgeId}
                title={`Drain of ${drain.edgeId}`}
                side={<a href={`#/edges/${drain.edgeId}`}>Edge</a>}
              >
                <Drain drain={drain} />
              </Card>
            ))}
            <InFlight moves={shown.inFlight} />
          </div>
          <div>
            <Rebalance />
            <Card title="History">
              <EventList events={history.slice(-HISTORY_SHOWN)} state={state} />
            </Card>
          </div>
        </div>
      )}
    </Loaded>
  );
}

function Now({ moves }: { moves: MovesResponse }) {
  const { inFlight, pending, paused, perSecond, paceReason, secondsRemaining } = moves;
  const isIdle = inFlight.length === 0 && pending === 0;
  return (
    <Card
      title="Now"
      side={
        paused ? (
          <Badge level="warn">paused</Badge>
        ) : (
          <Badge level="dim">{isIdle ? 'idle' : 'moving'}</Badge>
        )
      }
    >
      {moves.frozenRemainingMs !== null && (
        <Note level="bad">
          Frozen for {duration(moves.frozenRemainingMs)}: most edges vanished at once, which may be
          the fault of control’s own link. Confirm only if they are lost.
        </Note>
      )}
      <Facts>
        <Fact name="In progress">{number(inFlight.length)}</Fact>
        <Fact name="Pending">{number(pending)}</Fact>
        <Fact name="Pace" title={REASONS[paceReason]}>
          {number(perSecond)} <small>GOAWAYs a second</small>
        </Fact>
      </Facts>
      <p class="hint">
        {REASONS[paceReason]}
        {!isIdle && ` · ${eta(secondsRemaining)}`}
      </p>
      <footer>
        <Action label="Resume" title="Resume moves?" path="v1/resume" isOffered={paused}>
          <p>{plural(pending, 'pending move')} may start.</p>
        </Action>
        <Action label="Pause" title="Pause moves?" path="v1/pause" isOffered={!paused}>
          <p>
            No move starts until a resume. {plural(inFlight.length, 'move')} in progress complete.
          </p>
        </Action>
        <Action label="Abort" title="Abort moves?" path="v1/abort" isDangerous isDisabled={isIdle}>
          <p>
            Moves that can still be rolled back are rolled back, and{' '}
            {plural(pending, 'pending move')} are dropped.
          </p>
        </Action>
        <Action
          label="Confirm lost edges"
          title="Are these edges lost?"
          path="v1/confirm-lost-edges"
          isDangerous
          isOffered={moves.frozenRemainingMs !== null}
        >
          <p>Other edges get the shards of the edges that vanished, at once.</p>
        </Action>
      </footer>
    </Card>
  );
}

function InFlight({ moves }: { moves: MovesResponse['inFlight'] }) {
  if (moves.length === 0) return null;
  return (
    <Card title={plural(moves.length, 'move')}>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th>Shard</th>
              <th>From</th>
              <th>To</th>
              <th>Phase</th>
              <th class="right">Clients left</th>
            </tr>
          </thead>
          <tbody>
            {moves.slice(0, MOVES_SHOWN_MAX).map(({ shard, from, to, phase, clientsRemaining }) => (
              <tr key={shard}>
                <td>
                  <a href={`#/shards/${shard}`}>{shard}</a>
                </td>
                <td>{from}</td>
                <td>{to}</td>
                <td>{phase}</td>
                <td class="right">{number(clientsRemaining)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

/** The plan is loaded on request only: it is large, and control computes it each time. */
function Rebalance() {
  const [plan, setPlan] = useState<PlanResponse>();
  const [error, setError] = useState<ApiError>();
  const load = async () => {
    setError(undefined);
    try {
      setPlan(await call<PlanResponse>('v1/plan'));
    } catch (failure) {
      setError(failure as ApiError);
    }
  };
  return (
    <Card title="Rebalance">
      {error && (
        <Note level="bad">
          {error.code} {error.message}
        </Note>
      )}
      {plan === undefined ? (
        <p>Shows which shards would move where, before anything does.</p>
      ) : plan.shards === 0 ? (
        <Note level="good">Nothing to move: the edges are as balanced as they can be.</Note>
      ) : (
        <Plan plan={plan} />
      )}
      <footer>
        <button type="button" onClick={load}>
          {plan === undefined ? 'Dry run' : 'Dry run again'}
        </button>
        {plan !== undefined && plan.shards > 0 && (
          <Action
            label="Apply"
            title="Carry out this plan?"
            path="v1/rebalance"
            body={{ on: plan.on }}
          >
            <p>
              {plural(plan.shards, 'shard')} move, and {plural(plan.clients, 'client')} reconnect at
              up to {number(plan.reconnectsPerSecond)} a second. Control rejects it if the
              assignment has changed since the dry run.
            </p>
          </Action>
        )}
      </footer>
    </Card>
  );
}

function Plan({ plan }: { plan: PlanResponse }) {
  return (
    <>
      <Facts>
        <Fact name="Shards to move">{number(plan.shards)}</Fact>
        <Fact name="Clients to move">{number(plan.clients)}</Fact>
        <Fact name="Balance" title="Largest load of an edge compared with the mean">
          {plan.maxOverMean.before.toFixed(2)} → {plan.maxOverMean.after.toFixed(2)}
        </Fact>
        <Fact name="Reconnects">
          {number(plan.reconnectsPerSecond)} <small>a second · {eta(plan.secondsRemaining)}</small>
        </Fact>
      </Facts>
      {plan.irreducible.length > 0 && (
        <Note>Shards too large for any edge’s fair share: {plan.irreducible.join(', ')}</Note>
      )}
      <table>
        <thead>
          <tr>
            <th>From</th>
            <th>To</th>
            <th class="right">Shards</th>
            <th class="right">Clients</th>
          </tr>
        </thead>
        <tbody>
          {plan.transfers.slice(0, MOVES_SHOWN_MAX).map(({ from, to, shards, clients }) => (
            <tr key={`${from} ${to}`}>
              <td>{from}</td>
              <td>{to}</td>
              <td class="right">{number(shards.length)}</td>
              <td class="right">{number(clients)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

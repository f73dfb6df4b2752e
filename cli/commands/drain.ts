/** `longline drain`: drains an edge and shows the progress. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ControlApi, controlApi } from '../control/api.js';
import { isFinal, Rejected } from '../control/request.js';
import { Failure } from '../terminal/failure.js';
import { type DrainView, viewDrain } from './drain-view.js';
import { bar, eta, plural } from './format.js';
import { delayText } from './moves-state.js';
import { type OperationOptions, printIntent, reasonOf } from './operations.js';

export interface DrainOptions extends OperationOptions {
  /** Maximum GOAWAYs per second. */
  readonly rate?: number;
  /** Milliseconds from now. */
  readonly deadline?: number;
  readonly wait: boolean;
}

const POLL_MS = 1_000;
/** Interval of lines where there is no terminal. */
const PRINT_MS = 5_000;
/** Time for another control to take over, and for a new drain to show. */
const RETRY_TIMEOUT_MS = 30_000;
const BACK_TO_START_OF_LINE = '\r\u001b[K';

/**
 * Returns the exit status: 0 when the edge is empty, or draining with `--no-wait`; 1 when the drain
 * was cancelled.
 * @throws Failure when control rejects, or is unreachable for 30 s
 */
export async function drain(edgeId: string, options: DrainOptions): Promise<number> {
  const api = controlApi(options.control, options.token);
  const isNew = await begin(api, edgeId, options);
  if (!options.wait) {
    const done = `${edgeId} is ${isNew ? '' : 'already '}draining; ${cancelHint(edgeId)}`;
    await printIntent(api, edgeId, { edgeId, outcome: 'draining' }, done, options);
    return 0;
  }
  if (!isNew) note(options, `${edgeId} is already draining; its rate and deadline are unchanged`);
  const onInterrupt = () => {
    note(options, `\n${edgeId} continues to drain; ${cancelHint(edgeId)}`);
    process.exit(130);
  };
  process.once('SIGINT', onInterrupt);
  const outcome = await follow(api, edgeId, options);
  process.off('SIGINT', onInterrupt);
  if (options.json) console.log(JSON.stringify({ edgeId, outcome }));
  else console.log(OUTCOMES[outcome](edgeId));
  return outcome === 'cancelled' ? 1 : 0;
}

type Outcome = Exclude<DrainView['type'], 'draining' | 'unknown'>;

const OUTCOMES: Readonly<Record<Outcome, (edgeId: string) => string>> = {
  finished: (edgeId) => `${edgeId} is empty: its process may be stopped`,
  gone: (edgeId) => `${edgeId} is gone`,
  cancelled: (edgeId) => `The drain of ${edgeId} was cancelled`,
};

/** Returns false if the edge was draining already. */
async function begin(api: ControlApi, edgeId: string, options: DrainOptions): Promise<boolean> {
  const { rate, deadline: deadlineMs, force } = options;
  try {
    await api.drain(edgeId, {
      ...(rate !== undefined && { rate }),
      ...(deadlineMs !== undefined && { deadlineMs }),
      ...(force && { force }),
      ...reasonOf(options),
    });
    return true;
  } catch (error) {
    if (error instanceof Rejected && error.code === 'INTENT_UNCHANGED') return false;
    throw error;
  }
}

async function follow(api: ControlApi, edgeId: string, options: DrainOptions): Promise<Outcome> {
  const show = progressLine(options);
  let delay: string | undefined;
  let most = 0;
  let isSeen = false;
  let seenAtMs = performance.now();
  for (;;) {
    const view = await fetchView(api, edgeId, isSeen);
    if (view instanceof Failure) {
      if (performance.now() > seenAtMs + RETRY_TIMEOUT_MS) throw view;
    } else if (view.type !== 'draining') {
      show('');
      return view.type;
    } else {
      isSeen = true;
      seenAtMs = performance.now();
      most = Math.max(most, weightOf(view));
      show(describe(edgeId, view, most));
      const { delayedBy, waitingFor } = view;
      const wait = JSON.stringify({ edgeId, outcome: 'draining', delayedBy, waitingFor });
      // Standard output has one line, the outcome.
      if (options.json && wait !== delay && (delayedBy ?? waitingFor)) console.error(wait);
      delay = wait;
    }
    await sleep(POLL_MS);
  }
}

/** Returns a failure that may pass: another control takes over, or the drain shows a bit later. */
async function fetchView(
  api: ControlApi,
  edgeId: string,
  isSeen: boolean,
): Promise<Exclude<DrainView, { type: 'unknown' }> | Failure> {
  try {
    const [moves, edges] = await Promise.all([api.moves(), api.edges()]);
    const view = viewDrain(edgeId, moves, edges, isSeen);
    if (view.type !== 'unknown') return view;
    return new Failure(`control does not report that ${edgeId} is draining`);
  } catch (error) {
    if (error instanceof Failure && !isFinal(error)) return error;
    throw error;
  }
}

/** Redraws one line on a terminal; else prints a line every few seconds. */
function progressLine({ json }: DrainOptions): (line: string) => void {
  if (json) return () => {};
  if (process.stdout.isTTY) return (line) => process.stdout.write(BACK_TO_START_OF_LINE + line);
  let printedAtMs = Number.NEGATIVE_INFINITY;
  return (line) => {
    if (line === '' || performance.now() < printedAtMs + PRINT_MS) return;
    printedAtMs = performance.now();
    console.log(line);
  };
}

type Draining = Extract<DrainView, { type: 'draining' }>;

/** Shards count too: an edge without clients still has to lose them. */
function weightOf({ clients, shards }: Draining): number {
  return (clients ?? 0) + shards;
}

function describe(edgeId: string, view: Draining, most: number): string {
  const share = most === 0 ? 0 : 1 - weightOf(view) / most;
  const { clients, shards, secondsRemaining, delayedBy, waitingFor } = view;
  const left = `${plural(clients, 'client')}, ${plural(shards, 'shard')} left`;
  const delay = delayText(delayedBy) || (waitingFor === null ? '' : waitText(waitingFor));
  const until = `${eta(secondsRemaining)}${delay && `  ${delay}`}`;
  return `${edgeId} ${bar(share)} ${Math.floor(share * 100)} %  ${left}  ${until}`;
}

/** Such as `waiting for 3 clients that came back: a, b, …`. */
function waitText({ clients, clientIds }: NonNullable<Draining['waitingFor']>): string {
  const rest = clients > clientIds.length ? ', …' : '';
  return `waiting for ${plural(clients, 'client')} that came back: ${clientIds.join(', ')}${rest}`;
}

function cancelHint(edgeId: string): string {
  return `longline undrain ${edgeId} cancels the drain`;
}

/** Prints to standard error: standard output is for the outcome. */
function note({ json }: DrainOptions, text: string): void {
  if (!json) console.error(text);
}

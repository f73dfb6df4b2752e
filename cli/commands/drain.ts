/** `longline drain`: an edge loses its shards and clients, paced, and one sees how far it is. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ControlApi, controlApi } from '../control/api.js';
import { isFinal, Rejected } from '../control/request.js';
import { Failure } from '../failure.js';
import { type DrainView, viewDrain } from './drain-view.js';
import { bar, plural, spell } from './format.js';
import { reasonOf, type SteerOptions } from './operations.js';

export interface DrainOptions extends SteerOptions {
  /** Clients told to go each second at most. */
  readonly rate?: number;
  /** In milliseconds from now. */
  readonly deadline?: number;
  readonly wait: boolean;
}

const POLL_MS = 1_000;
/** Where nothing can be redrawn. */
const PRINT_MS = 5_000;
/** Another control takes over within this time, and an order shows within it. */
const PATIENCE_MS = 30_000;
const BACK_TO_START_OF_LINE = '\r\u001b[K';

/**
 * Returns the exit status: 0 when the edge is empty, or draining if nobody waits for that; 1 when
 * the drain was taken back.
 * @throws Failure when control rejects, or cannot be reached for long
 */
export async function drain(edgeId: string, options: DrainOptions): Promise<number> {
  const api = controlApi(options.control, options.token);
  const isNew = await begin(api, edgeId, options);
  if (!options.wait) {
    if (options.json) console.log(JSON.stringify({ edgeId, outcome: 'draining' }));
    else console.log(`${edgeId} is draining${isNew ? '' : ' already'}; ${takeBack(edgeId)}`);
    return 0;
  }
  if (!isNew) say(options, `${edgeId} is draining already; its rate and deadline stay as they are`);
  const onInterrupt = () => {
    say(options, `\n${edgeId} goes on draining; ${takeBack(edgeId)}`);
    process.exit(130);
  };
  process.once('SIGINT', onInterrupt);
  const outcome = await follow(api, edgeId, options);
  process.off('SIGINT', onInterrupt);
  if (options.json) console.log(JSON.stringify({ edgeId, outcome }));
  else console.log(OUTCOMES[outcome](edgeId));
  return outcome === 'taken-back' ? 1 : 0;
}

type Outcome = Exclude<DrainView['type'], 'draining' | 'unknown'>;

const OUTCOMES: Readonly<Record<Outcome, (edgeId: string) => string>> = {
  finished: (edgeId) => `${edgeId} is empty: its process may end`,
  gone: (edgeId) => `${edgeId} is gone`,
  'taken-back': (edgeId) => `The drain of ${edgeId} was taken back`,
};

/** Returns false when it was draining before. */
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
  let most = 0;
  let isSeen = false;
  let seenAtMs = performance.now();
  for (;;) {
    const view = await look(api, edgeId, isSeen);
    if (view instanceof Failure) {
      if (performance.now() > seenAtMs + PATIENCE_MS) throw view;
    } else if (view.type !== 'draining') {
      show('');
      return view.type;
    } else {
      isSeen = true;
      seenAtMs = performance.now();
      most = Math.max(most, weightOf(view));
      show(describe(edgeId, view, most));
    }
    await sleep(POLL_MS);
  }
}

/** A failure may pass: another control takes over, or the order shows a little later. */
async function look(
  api: ControlApi,
  edgeId: string,
  isSeen: boolean,
): Promise<Exclude<DrainView, { type: 'unknown' }> | Failure> {
  try {
    const [moves, edges] = await Promise.all([api.moves(), api.edges()]);
    const view = viewDrain(edgeId, moves, edges, isSeen);
    if (view.type !== 'unknown') return view;
    return new Failure(`control does not say that ${edgeId} is draining`);
  } catch (error) {
    if (error instanceof Failure && !isFinal(error)) return error;
    throw error;
  }
}

/** Shows each line in place of the one before it, or some of them where there is no terminal. */
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

/** An empty edge has shards to lose, too. */
function weightOf({ clients, shards }: Draining): number {
  return (clients ?? 0) + shards;
}

function describe(edgeId: string, view: Draining, most: number): string {
  const share = most === 0 ? 0 : 1 - weightOf(view) / most;
  const { clients, shards, secondsRemaining } = view;
  const left = `${plural(clients, 'client')}, ${plural(shards, 'shard')} left`;
  return `${edgeId} ${bar(share)} ${Math.floor(share * 100)} %  ${left}  ETA ${spell(secondsRemaining)}`;
}

function takeBack(edgeId: string): string {
  return `longline undrain ${edgeId} takes it back`;
}

/** Not on the standard output, which belongs to the outcome. */
function say({ json }: DrainOptions, text: string): void {
  if (!json) console.error(text);
}

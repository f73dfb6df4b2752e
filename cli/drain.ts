/** `longline drain`: an edge loses its shards and clients, paced, and one sees how far it is. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ControlApi, controlApi } from './control-api.js';
import { isFinal, Refused } from './control-request.js';
import { type DrainView, viewDrain } from './drain-view.js';
import { Failure } from './failure.js';
import { reasonOf, type SteerOptions } from './steer.js';
import { bar, grouped, plural, spell, UNKNOWN } from './words.js';

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
 * @throws Failure when control refuses, or cannot be reached for long
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
    if (error instanceof Refused && error.code === 'INTENT_UNCHANGED') return false;
    throw error;
  }
}

async function follow(api: ControlApi, edgeId: string, options: DrainOptions): Promise<Outcome> {
  const isScreen = process.stdout.isTTY && !options.json;
  let most = 0;
  let isSeen = false;
  let seenAtMs = performance.now();
  let printedAtMs = Number.NEGATIVE_INFINITY;
  for (;;) {
    const view = await look(api, edgeId, isSeen);
    const nowMs = performance.now();
    if (view instanceof Failure || view.type === 'unknown') {
      if (nowMs > seenAtMs + PATIENCE_MS) {
        throw view instanceof Failure
          ? view
          : new Failure(`control does not say that ${edgeId} is draining`);
      }
    } else {
      if (view.type !== 'draining') {
        if (isScreen) process.stdout.write(BACK_TO_START_OF_LINE);
        return view.type;
      }
      isSeen = true;
      seenAtMs = nowMs;
      most = Math.max(most, weightOf(view));
      const line = describe(edgeId, view, most);
      if (isScreen) process.stdout.write(BACK_TO_START_OF_LINE + line);
      else if (!options.json && nowMs >= printedAtMs + PRINT_MS) {
        printedAtMs = nowMs;
        console.log(line);
      }
    }
    await sleep(POLL_MS);
  }
}

async function look(
  api: ControlApi,
  edgeId: string,
  isSeen: boolean,
): Promise<DrainView | Failure> {
  try {
    const [moves, edges] = await Promise.all([api.moves(), api.edges()]);
    return viewDrain(edgeId, moves, edges, isSeen);
  } catch (error) {
    // A refused token does not come back; a control that is away does.
    if (error instanceof Failure && !isFinal(error)) return error;
    throw error;
  }
}

type Draining = Extract<DrainView, { type: 'draining' }>;

/** An empty edge has shards to lose, too. */
function weightOf({ clients, shards }: Draining): number {
  return (clients ?? 0) + shards;
}

function describe(edgeId: string, view: Draining, most: number): string {
  const share = most === 0 ? 0 : 1 - weightOf(view) / most;
  const { clients, shards, secondsLeft } = view;
  const left = `${clients === null ? UNKNOWN : grouped(clients)} clients, ${plural(shards, 'shard')} left`;
  return `${edgeId} ${bar(share)} ${Math.floor(share * 100)} %  ${left}  ETA ${spell(secondsLeft)}`;
}

function takeBack(edgeId: string): string {
  return `longline undrain ${edgeId} takes it back`;
}

/** Not on the standard output, which belongs to the outcome. */
function say({ json }: DrainOptions, text: string): void {
  if (!json) console.error(text);
}

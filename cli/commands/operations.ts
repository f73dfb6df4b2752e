/** Operations without progress to show: `longline pause`, `resume`, `abort`, `cordon`, … */
import {
  type ControlApi,
  controlApi,
  type MovesResponse,
  type SimpleOperation,
} from '../control/api.js';
import { fetchMoves, stateLines, stateOf } from './moves-state.js';
import type { ControlOptions } from './status.js';

export interface OperationOptions extends ControlOptions {
  readonly force?: boolean;
  readonly reason?: string;
}

/** Texts for a change, and for a request that changed nothing. */
const OUTCOMES: Readonly<Record<SimpleOperation, readonly [done: string, unchanged: string]>> = {
  pause: ['Moves in progress complete', 'Moves were paused already'],
  resume: ['Resumed: moves start again', 'Moves were not paused'],
  abort: [
    'Aborted: moves that clients have not noticed are rolled back, pending ones are dropped, ' +
      'balancing ends',
    'No move was in progress or pending; balancing ends if it had started',
  ],
  'confirm-lost-edges': [
    'Confirmed: the edges that vanished are lost, other edges get their shards',
    'There was nothing to confirm: membership is not frozen',
  ],
};

/** @throws Failure when control rejects or cannot be reached */
export async function perform(
  operation: SimpleOperation,
  options: OperationOptions,
): Promise<void> {
  const api = controlApi(options.control, options.token);
  const before = await api.moves();
  const moves = await api.perform(operation, reasonOf(options));
  const changed = hasChanged(operation, before);
  if (options.json) {
    console.log(JSON.stringify({ ...moves, changed }));
    return;
  }
  const [done, unchanged] = OUTCOMES[operation];
  console.log([changed ? done : unchanged, ...stateLines(moves)].join('\n'));
}

function hasChanged(operation: SimpleOperation, before: MovesResponse): boolean {
  const { paused, frozenUntilMs, inFlight, pending } = before;
  switch (operation) {
    case 'pause':
      return !paused;
    case 'resume':
      return paused;
    case 'abort':
      return !paused || inFlight.length + pending > 0;
    case 'confirm-lost-edges':
      return frozenUntilMs !== null;
  }
}

/** @throws Failure when control rejects or cannot be reached */
export async function cordon(edgeId: string, options: OperationOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  const response = await api.cordon(edgeId, {
    ...(options.force && { force: true }),
    ...reasonOf(options),
  });
  const done = `${edgeId} keeps its shards and gets no more; longline undrain ${edgeId} cancels that`;
  await printIntent(api, edgeId, response, done, options);
}

/** @throws Failure when control rejects or cannot be reached */
export async function undrain(edgeId: string, options: OperationOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  const response = await api.undrain(edgeId, reasonOf(options));
  const done = `${edgeId} is neither draining nor cordoned; it gets shards again when balancing needs it`;
  await printIntent(api, edgeId, response, done, options);
}

/** Prints what was done, and the state in which that leaves the cluster. */
export async function printIntent(
  api: ControlApi,
  edgeId: string,
  response: object,
  done: string,
  { json }: OperationOptions,
): Promise<void> {
  const moves = await fetchMoves(api);
  if (json) {
    console.log(JSON.stringify({ ...response, ...stateOf(moves, edgeId) }));
    return;
  }
  console.log([done, ...(moves === undefined ? [] : stateLines(moves))].join('\n'));
}

export function reasonOf({ reason }: OperationOptions): { reason?: string } {
  return reason === undefined ? {} : { reason };
}

/** Operations without progress to show: `longline pause`, `resume`, `abort`, `cordon`, … */
import { controlApi, type SimpleOperation } from '../control/api.js';
import type { ControlOptions } from './status.js';

export interface OperationOptions extends ControlOptions {
  readonly force?: boolean;
  readonly reason?: string;
}

const DONE: Readonly<Record<SimpleOperation, string>> = {
  pause: 'Paused: moves in progress complete, no others start until longline resume',
  resume: 'Resumed',
  abort: 'Aborted: moves are rolled back where possible, pending ones are dropped',
  'confirm-lost-edges': 'Confirmed: the edges that vanished are lost, other edges get their shards',
};

/** @throws Failure when control rejects or cannot be reached */
export async function perform(
  operation: SimpleOperation,
  options: OperationOptions,
): Promise<void> {
  const api = controlApi(options.control, options.token);
  const moves = await api.perform(operation, reasonOf(options));
  console.log(options.json ? JSON.stringify(moves) : DONE[operation]);
}

/** @throws Failure when control rejects or cannot be reached */
export async function cordon(edgeId: string, options: OperationOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  const response = await api.cordon(edgeId, {
    ...(options.force && { force: true }),
    ...reasonOf(options),
  });
  const done = `${edgeId} keeps its shards and gets no more; longline undrain ${edgeId} cancels that`;
  console.log(options.json ? JSON.stringify(response) : done);
}

/** @throws Failure when control rejects or cannot be reached */
export async function undrain(edgeId: string, options: OperationOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  const response = await api.undrain(edgeId, reasonOf(options));
  console.log(
    options.json ? JSON.stringify(response) : `${edgeId} is neither draining nor cordoned`,
  );
}

export function reasonOf({ reason }: OperationOptions): { reason?: string } {
  return reason === undefined ? {} : { reason };
}

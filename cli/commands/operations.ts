/** Orders that are done at once: `longline pause`, `resume`, `abort`, `confirm-lost-edges`, `cordon`, `undrain`. */
import { controlApi, type Order } from '../control/api.js';
import type { ControlOptions } from './status.js';

export interface SteerOptions extends ControlOptions {
  readonly force?: boolean;
  readonly reason?: string;
}

const DONE: Readonly<Record<Order, string>> = {
  pause: 'Paused: what is under way ends, nothing else begins until longline resume',
  resume: 'Resumed',
  abort: 'Aborted: what can be taken back is, and nothing waits',
  'confirm-lost-edges': 'Believed: the edges that vanished are gone, their shards go to others',
};

/** @throws Failure when control rejects or cannot be reached */
export async function tell(order: Order, options: SteerOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  const moves = await api.tell(order, { ...reasonOf(options) });
  console.log(options.json ? JSON.stringify(moves) : DONE[order]);
}

/** @throws Failure when control rejects or cannot be reached */
export async function cordon(edgeId: string, options: SteerOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  const answer = await api.cordon(edgeId, {
    ...(options.force && { force: true }),
    ...reasonOf(options),
  });
  const done = `${edgeId} keeps its shards and gets no more; longline undrain ${edgeId} takes it back`;
  console.log(options.json ? JSON.stringify(answer) : done);
}

/** @throws Failure when control rejects or cannot be reached */
export async function undrain(edgeId: string, options: SteerOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  const answer = await api.undrain(edgeId, reasonOf(options));
  console.log(options.json ? JSON.stringify(answer) : `${edgeId} is an ordinary edge again`);
}

export function reasonOf({ reason }: SteerOptions): { reason?: string } {
  return reason === undefined ? {} : { reason };
}

/** `longline block`, `unblock` and `blocks`: the clients and users that may not connect. */
import { controlApi } from '../../control/api.js';
import { spell } from '../format.js';
import { type OperationOptions, reasonOf } from '../operations.js';
import type { ControlOptions } from '../status.js';
import { table } from '../table.js';

export interface BlockOptions extends OperationOptions {
  /** Duration in milliseconds. */
  readonly for: number;
}

/** @throws Failure when control rejects or cannot be reached */
export async function block(name: string, options: BlockOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  const response = await api.block({ name, forMs: options.for, ...reasonOf(options) });
  console.log(
    options.json
      ? JSON.stringify(response)
      : `${name} may not connect for ${spell(options.for / 1_000)}; longline unblock ${name} cancels that`,
  );
}

/**
 * Returns the exit status: 0 when the name was blocked.
 * @throws Failure when control rejects or cannot be reached
 */
export async function unblock(name: string, options: OperationOptions): Promise<number> {
  const api = controlApi(options.control, options.token);
  const response = await api.unblock({ name, ...reasonOf(options) });
  const done = response.wasBlocked ? `${name} may connect again` : `${name} was not blocked`;
  console.log(options.json ? JSON.stringify(response) : done);
  return response.wasBlocked ? 0 : 1;
}

/** @throws Failure when control rejects or cannot be reached */
export async function blocks(options: ControlOptions): Promise<void> {
  const list = await controlApi(options.control, options.token).blocks();
  if (options.json) return console.log(JSON.stringify({ blocks: list }));
  if (list.length === 0) return console.log('no client or user is blocked');
  const rows = list.map(({ name, remainingMs }) => [name, spell(remainingMs / 1_000)]);
  console.log(table(['name', 'blocked for'], rows));
}

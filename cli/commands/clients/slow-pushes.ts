/** `longline slow-pushes`: the slowest pushes of the last minute, and what they waited for. */
import { controlApi } from '../../control/api.js';
import { spell } from '../format.js';
import { flightTable } from '../router/flight-table.js';
import type { ControlOptions } from '../status.js';
import { table } from '../table.js';

export interface SlowPushesOptions extends ControlOptions {
  readonly limit: number;
  /** Whether to print the flight records that there are. */
  readonly trace: boolean;
}

/** @throws Failure when control rejects or cannot be reached */
export async function slowPushes({ limit, ...options }: SlowPushesOptions): Promise<void> {
  const list = await controlApi(options.control, options.token).slowPushes({ limit });
  if (options.json) return console.log(JSON.stringify(list));
  if (list.pushes.length === 0) return console.log('no push in the last minute');
  const rows = list.pushes.map((push) => [
    Math.round(push.totalMs),
    push.redisMs === null ? '-' : Math.round(push.redisMs),
    push.edgesMs === null ? '-' : Math.round(push.edgesMs),
    push.cause,
    push.verdict,
    push.clientId,
    push.payloadBytes,
    push.routerId,
    spell(push.ageMs / 1_000),
  ]);
  const head = ['ms', 'Redis', 'edges', 'cause', 'verdict', 'client', 'bytes', 'router', 'ago'];
  console.log(table(head, rows));
  if (!options.trace) return;
  for (const { clientId, flightRecord } of list.pushes) {
    if (flightRecord) console.log(`\n${clientId}\n${flightTable(flightRecord)}`);
  }
}

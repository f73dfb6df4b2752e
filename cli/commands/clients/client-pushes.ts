/** `longline client-pushes`: the newest pushes to a client, and their verdicts. */
import { controlApi } from '../../control/api.js';
import { spell } from '../format.js';
import { flightTable } from '../router/flight-table.js';
import type { ControlOptions } from '../status.js';
import { table } from '../table.js';

export interface ClientPushesOptions extends ControlOptions {
  /** Whether to print the flight records that there are. */
  readonly trace: boolean;
}

/** @throws Failure when control rejects or cannot be reached */
export async function clientPushes(clientId: string, options: ClientPushesOptions): Promise<void> {
  const list = await controlApi(options.control, options.token).clientPushes(clientId);
  if (options.json) return console.log(JSON.stringify(list));
  const { pushes, rememberedMs, silentRouters } = list;
  if (silentRouters > 0) console.log(`${silentRouters} routers did not answer in time`);
  if (rememberedMs === null) return console.log('no router has answered');
  if (pushes.length === 0) return console.log(`no push in the last ${spell(rememberedMs / 1_000)}`);
  const rows = pushes.map((push) => [
    spell(push.ageMs / 1_000),
    push.verdict,
    push.totalMs.toFixed(1),
    push.acceptLevel ?? '-',
    push.payloadBytes,
    push.messageId ?? '-',
    push.routerId,
  ]);
  console.log(table(['ago', 'verdict', 'ms', 'level', 'bytes', 'id', 'router'], rows));
  if (!options.trace) return;
  for (const { ageMs, flightRecord } of pushes) {
    if (flightRecord) console.log(`\n${spell(ageMs / 1_000)} ago\n${flightTable(flightRecord)}`);
  }
}

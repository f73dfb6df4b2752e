/** The steps of a push as a table. */
import { STEP_MEANINGS } from '../../../common/http/flight-meanings.js';
import type { FlightStep } from '../../../common/http/flight-steps.js';
import { table } from '../table.js';

/** Characters of a number of milliseconds. */
const WIDTH = 9;

export function flightTable(steps: readonly FlightStep[]): string {
  const rows = steps.map(({ event, place, afterUs, errorUs }) => [
    inMs(afterUs),
    errorUs === 0 ? '' : `±${inMs(errorUs)}`,
    STEP_MEANINGS[event] ?? event,
    place,
  ]);
  return table(['ms'.padStart(WIDTH), 'error'.padStart(WIDTH + 1), 'step', 'where'], rows);
}

function inMs(us: number): string {
  return (us / 1_000).toFixed(3).padStart(WIDTH);
}

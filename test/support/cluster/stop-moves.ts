import type { ControlApi } from '../../../cli/control/api.js';
import { eventually } from '../eventually.js';

/**
 * Pauses moves and waits for those that are in flight. For tests whose clients must stay where they
 * are: an edge that started late, restarted or was undrained receives its share in moves, up to a
 * minute later on a busy machine.
 */
export async function stopMoves(api: ControlApi): Promise<void> {
  await api.perform('pause', {});
  await eventually(async () => (await api.moves()).inFlight.length === 0);
}

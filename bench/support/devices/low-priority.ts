import { writeFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';

/**
 * Gives this process, and its session, the lowest priority: it plays devices, which in production
 * use no processor time of the cluster's machines.
 */
export function lowerPriority(): void {
  setPriority(constants.priority.PRIORITY_LOW);
  try {
    writeFileSync('/proc/self/autogroup', `${constants.priority.PRIORITY_LOW}`);
  } catch {
    // Without autogroups, the priority counts among all processes.
  }
}

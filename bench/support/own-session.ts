/** Processes that play devices, on the machine of the cluster for want of others. */
import { type ChildProcess, fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';

/**
 * Starts a program of this directory in a session of its own: Linux shares the processor fairly among
 * sessions first (autogroups, sched(7)), and the priority of a process counts only within its own.
 */
export function forkElsewhere(file: string): ChildProcess {
  return fork(fileURLToPath(new URL(file, import.meta.url)), { detached: true });
}

/** For such a program: on a machine of its own it would take nothing from the cluster. */
export function stepBack(): void {
  setPriority(constants.priority.PRIORITY_LOW);
  try {
    writeFileSync('/proc/self/autogroup', `${constants.priority.PRIORITY_LOW}`);
  } catch {
    // A system without them: then the priority counts among all processes.
  }
}

/** `longline doctor`: what stops this machine from holding many connections, and what to set. */
import { judge } from './findings.js';
import { readMachine } from './readings.js';

export interface DoctorOptions {
  /** How many connections this machine is to hold. */
  readonly connections: number;
  /** URL of a Redis to look at, too. */
  readonly redis?: string;
  readonly json?: boolean;
}

/** Returns the exit status: 1 when the connections cannot be held. */
export async function doctor(options: DoctorOptions): Promise<number> {
  const findings = judge(await readMachine(options.redis), options.connections);
  if (options.json) {
    console.log(JSON.stringify({ connections: options.connections, findings }));
  } else {
    for (const { grade, what, value, advice } of findings) {
      console.log(`${grade.padEnd(7)} ${what}: ${value}`);
      if (advice !== '') console.log(`        ${advice}`);
    }
  }
  return findings.some(({ grade }) => grade === 'fail') ? 1 : 0;
}

/**
 * `longline doctor`: limits of this machine that prevent many connections, and how to raise them.
 */
import { judge } from './findings.js';
import { readMachine } from './readings.js';

export interface DoctorOptions {
  /** Number of connections that this machine should hold. */
  readonly connections: number;
  /** URL of a Redis to check as well. */
  readonly redis?: string;
  readonly json?: boolean;
}

/** Returns the exit status: 1 when the machine cannot hold the connections. */
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

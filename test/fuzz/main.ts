/**
 * Fuzzes every parser, then a running cluster, with nearly valid input: nothing may crash, hang or
 * leak, and other clients must not be affected. `npm run fuzz -- --seconds 60 --seed 1 --json`.
 */
import { parseArgs } from 'node:util';
import { fuzzParsers } from './parsers.js';
import { fuzzConnections } from './sessions/connections.js';
import { targets } from './targets/targets.js';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
    json: { type: 'boolean', default: false },
  },
});
const seconds = numberOf('seconds', values.seconds);
const seed = numberOf('seed', values.seed);

// Printed first, so that a crash can be reproduced.
console.error(`seed ${seed}`);
const parsers = await fuzzParsers(seed, seconds / 2);
const connections = await fuzzConnections(seed, seconds / 2);
const failures = [...parsers.failures, ...connections.failures];
for (const failure of failures) console.error(failure);
console.log(
  values.json
    ? JSON.stringify({
        seed,
        seconds,
        parsers: { targets: targets.length, inputs: parsers.inputs, outcomes: parsers.outcomes },
        connections: {
          sessions: connections.sessions,
          pushes: connections.pushes,
          slowestPushMs: connections.slowestPushMs,
        },
        failures,
      })
    : `seed ${seed} · ${targets.length} parsers, ${parsers.inputs} inputs, ${parsers.outcomes} outcomes · ` +
        `${connections.sessions} sessions, ${connections.pushes} pushes, slowest push ${connections.slowestPushMs} ms · ` +
        `${failures.length} failures`,
);
process.exitCode = failures.length === 0 ? 0 : 1;

function numberOf(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new Error(`--${option} is ${text}: set a whole number from 1`);
  }
  return value;
}

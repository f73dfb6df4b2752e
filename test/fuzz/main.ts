/**
 * Input that is nearly right, for every parser and for a whole edge: nothing may crash, hang, grow,
 * or let others feel it. `npm run fuzz -- --seconds 60 --seed 1 --json`.
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

// Said first: whatever happens, it can be repeated.
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
        `${connections.sessions} sessions beside ${connections.pushes} pushes, the slowest ${connections.slowestPushMs} ms · ` +
        `${failures.length} failures`,
);
process.exitCode = failures.length === 0 ? 0 : 1;

function numberOf(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new Error(`--${option} needs a whole number from 1, not ${text}`);
  }
  return value;
}

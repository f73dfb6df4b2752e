/**
 * What a durable push costs Redis: microseconds of its processor time per call of the script that
 * stores and publishes a push, beside two other scripts with the same arguments.
 *
 *   push      the script of a router
 *   minimal   only what cannot be left out: XADD, INCR, SPUBLISH
 *   empty     returns at once: the cost of the call itself
 *
 *   busy      each inbox has entries, and was used a moment ago
 *   first     the client has never had a push
 *   keyed     as busy, each push with a new idempotency key
 *   full      each inbox is at its bound, so each push drops the oldest
 *
 * The calls are pipelined, to 2,000 shards in turn, each with one subscriber. The scripts run in
 * turn; each figure is a median. `--pushes 1000 --rounds 1` is a smoke test, `--json` prints one line.
 */
import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { table } from '../cli/commands/table.js';
import { type LocalRedis, startRedis } from '../cli/local/redis.js';
import { number, parseOptions } from './support/options.js';
import { cpuTime, totalUs } from './support/processes/cpu.js';
import { type Argument, storeCommand } from './support/pushes/store-command.js';
import { progress, report } from './support/report.js';
import { runInTurn } from './support/rounds.js';
import { medianOf } from './support/statistics.js';

const SHARDS = 2_000;
const TTL_MS = 3_600_000;
/** Pushes to each inbox before those that are measured. */
const ENTRIES = 4;
const AMPLE = { countMax: 1_000, bytesMax: 4 * 1024 * 1024 };
const FULL = { countMax: ENTRIES, bytesMax: 4 * 1024 * 1024 };
const PIPELINED = 500;

const STATES = ['busy', 'first', 'keyed', 'full'] as const;
type State = (typeof STATES)[number];
const SCRIPTS = ['push', 'minimal', 'empty'] as const;
type ScriptName = (typeof SCRIPTS)[number];

/** With the keys and arguments of the script of a router: see common/cluster/inbox/push.ts. */
const OTHERS: Readonly<Record<Exclude<ScriptName, 'push'>, string>> = {
  minimal: `
local id = redis.call('XADD', KEYS[2], '*', 'p', ARGV[2], 'x', ARGV[3], 'b', '0', 'c', ARGV[5],
  's', ARGV[4])
local n = redis.call('INCR', KEYS[1])
local receivers = redis.call('SPUBLISH', string.sub(KEYS[1], 1, -5), ARGV[1] .. ARGV[2] .. id .. n)
return id .. ' ' .. receivers .. ' 0'`,
  empty: `return '1795386373482-0 1 0'`,
};

interface Call {
  readonly channel: string;
  readonly scriptText: string;
  readonly args: readonly Argument[];
}

const { json, pushes, rounds } = parseOptions({ pushes: number(20_000), rounds: number(5) });
const redis = await startRedis({ onProgress: progress });
const [commands, subscriber] = [new Redis(redis.port), new Redis(redis.port)];
let keys = 0;
try {
  const result = { ...(await measure(redis)), pushes, rounds };
  report(json, result, () => printTable(result));
} finally {
  commands.disconnect();
  subscriber.disconnect();
  await redis.stop();
}

async function measure(server: LocalRedis): Promise<Record<State, Record<ScriptName, number>>> {
  await subscribe();
  const results = {} as Record<State, Record<ScriptName, number>>;
  for (const state of STATES) {
    progress(state);
    const runs = await runInTurn(rounds, SCRIPTS, (script) => usPerPush(server, state, script));
    const median = (script: ScriptName) => medianOf(runs[script], (us) => us, 1);
    results[state] = { push: median('push'), minimal: median('minimal'), empty: median('empty') };
  }
  return results;
}

async function subscribe(): Promise<void> {
  const channels = await Promise.all(
    Array.from({ length: SHARDS }, async (_, i) => (await callOf('first', i)).channel),
  );
  await subscriber.pipeline(channels.map((channel) => ['ssubscribe', channel])).exec();
}

async function usPerPush(server: LocalRedis, state: State, script: ScriptName): Promise<number> {
  await commands.flushall();
  if (state !== 'first') {
    const before = state === 'keyed' ? 'busy' : state;
    await run(await callsOf(before, ENTRIES * SHARDS), 'push');
  }
  const calls = await callsOf(state, pushes);
  const fromUs = totalUs(cpuTime(server.pid));
  await run(calls, script);
  return (totalUs(cpuTime(server.pid)) - fromUs) / pushes;
}

function callsOf(state: State, count: number): Promise<Call[]> {
  return Promise.all(Array.from({ length: count }, (_, i) => callOf(state, i)));
}

/** The `i`-th push: to the shards in turn, and but for first pushes always to the same clients. */
function callOf(state: State, i: number): Promise<Call> {
  const tag = `${i % SHARDS}`;
  const clientId = `device-${state === 'first' ? i : tag}`;
  const idempotencyKey = state === 'keyed' ? `key-${keys++}` : '';
  const push = { tag, clientId, ttlMs: TTL_MS, idempotencyKey };
  return storeCommand(push, state === 'full' ? FULL : AMPLE);
}

async function run(calls: readonly Call[], script: ScriptName): Promise<void> {
  const text = script === 'push' ? calls[0]!.scriptText : OTHERS[script];
  const sha1 = createHash('sha1').update(text).digest('hex');
  await commands.script('LOAD', text);
  for (let i = 0; i < calls.length; i += PIPELINED) {
    const batch = calls.slice(i, i + PIPELINED).map(({ args }) => ['evalsha', sha1, ...args]);
    const replies = (await commands.pipeline(batch).exec())!;
    for (const [error] of replies) if (error) throw error;
  }
}

function printTable(result: Record<State, Record<ScriptName, number>>): void {
  console.log(`microseconds of Redis per push, median of ${rounds} runs of ${pushes} pushes`);
  const rows = STATES.map((state) => [state, ...SCRIPTS.map((script) => result[state][script])]);
  console.log(table(['', ...SCRIPTS], rows));
}

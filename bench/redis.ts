/**
 * What a durable push costs Redis: microseconds of its processor time per push, with the script
 * that stores and publishes pushes, beside two other scripts with the same arguments.
 *
 *   batch     the script of a router, with 32 pushes a call
 *   push      the same with one push
 *   minimal   only what cannot be left out: XADD, INCR, SPUBLISH
 *   empty     returns at once: the cost of the call itself
 *
 *   busy      each inbox has entries, and was used a moment ago
 *   first     the client has never had a push
 *   keyed     as busy, each push with a new idempotency key
 *   full      each inbox is at its bound, so each push drops the oldest
 *   collapse  as busy, each push replaces the one before it
 *   append    as busy, each push is a part of a growing message
 *
 * The calls are pipelined, to 2,000 shards in turn, each with one subscriber. The scripts run in
 * turn; each figure is a median. `--pushes 1000 --rounds 1` is a smoke test, `--json` prints one
 * line.
 */
import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { table } from '../cli/commands/table.js';
import { type LocalRedis, startRedis } from '../cli/local/redis.js';
import type { Combination } from '../common/cluster/inbox/combine.js';
import { number, parseOptions } from './support/options.js';
import { cpuTime, totalUs } from './support/processes/cpu.js';
import {
  channelOf,
  type StoreCommand,
  type StoredPush,
  storeCommand,
} from './support/pushes/store-command.js';
import { progress, report } from './support/report.js';
import { runInTurn } from './support/rounds.js';
import { medianOf } from './support/statistics.js';

const SHARDS = 2_000;
const TTL_MS = 3_600_000;
/** Pushes to each inbox before those that are measured. */
const ENTRIES = 4;
const AMPLE = { countMax: 1_000, bytesMax: 4 * 1024 * 1024 };
const FULL = { countMax: ENTRIES, bytesMax: 4 * 1024 * 1024 };
/** As many as a router sends at most. */
const BATCH = 32;
/** Pushes in flight. */
const PIPELINED = 512;

const STATES = ['busy', 'first', 'keyed', 'full', 'collapse', 'append'] as const;
type State = (typeof STATES)[number];
const COMBINATIONS: { readonly [state in State]?: Combination } = {
  collapse: { type: 'collapse', key: 'position' },
  append: { type: 'append', key: 'answer', isEnd: false },
};
const SCRIPTS = ['batch', 'push', 'minimal', 'empty'] as const;
type ScriptName = (typeof SCRIPTS)[number];

/** With the keys and arguments of the script of a router: see common/cluster/inbox/push.ts. */
const OTHERS = {
  minimal: `
local id = redis.call('XADD', KEYS[2], '*', 'p', ARGV[2], 'x', ARGV[3], 'b', '0', 'c', ARGV[5],
  's', ARGV[4])
local n = redis.call('INCR', KEYS[1])
local receivers = redis.call('SPUBLISH', string.sub(KEYS[1], 1, -5), ARGV[1] .. ARGV[2] .. id .. n)
return id .. ' ' .. receivers .. ' 0'`,
  empty: `return '1795386373482-0 1 0'`,
} as const;
const isOther = (name: ScriptName): name is keyof typeof OTHERS => name in OTHERS;

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
    results[state] = {
      batch: median('batch'),
      push: median('push'),
      minimal: median('minimal'),
      empty: median('empty'),
    };
  }
  return results;
}

async function subscribe(): Promise<void> {
  const channels = pushesOf('busy', SHARDS).map(channelOf);
  await subscriber.pipeline(channels.map((channel) => ['ssubscribe', channel])).exec();
}

async function usPerPush(server: LocalRedis, state: State, script: ScriptName): Promise<number> {
  await commands.flushall();
  if (state !== 'first') {
    await run(await callsOf(state === 'full' ? 'full' : 'busy', ENTRIES * SHARDS, 1), 'push');
  }
  const calls = await callsOf(state, pushes, script === 'batch' ? BATCH : 1);
  const fromUs = totalUs(cpuTime(server.pid));
  await run(calls, script);
  return (totalUs(cpuTime(server.pid)) - fromUs) / pushes;
}

/** Calls of the script for `count` pushes, `perCall` in each. */
function callsOf(state: State, count: number, perCall: number): Promise<StoreCommand[]> {
  const stored = pushesOf(state, count);
  const calls: Promise<StoreCommand>[] = [];
  for (let i = 0; i < count; i += perCall) {
    calls.push(storeCommand(stored.slice(i, i + perCall), state === 'full' ? FULL : AMPLE));
  }
  return Promise.all(calls);
}

/** Pushes to the shards in turn, and but for first pushes always to the same clients. */
function pushesOf(state: State, count: number): StoredPush[] {
  return Array.from({ length: count }, (_, i) => {
    const tag = `${i % SHARDS}`;
    const clientId = `device-${state === 'first' ? i : tag}`;
    const idempotencyKey = state === 'keyed' ? `key-${keys++}` : '';
    return { tag, clientId, ttlMs: TTL_MS, idempotencyKey, combination: COMBINATIONS[state] };
  });
}

async function run(calls: readonly StoreCommand[], script: ScriptName): Promise<void> {
  const text = isOther(script) ? OTHERS[script] : calls[0]!.scriptText;
  const sha1 = createHash('sha1').update(text).digest('hex');
  await commands.script('LOAD', text);
  const inFlight = script === 'batch' ? PIPELINED / BATCH : PIPELINED;
  for (let i = 0; i < calls.length; i += inFlight) {
    const batch = calls.slice(i, i + inFlight).map(({ args }) => ['evalsha', sha1, ...args]);
    const replies = (await commands.pipeline(batch).exec())!;
    for (const [error] of replies) if (error) throw error;
  }
}

function printTable(result: Record<State, Record<ScriptName, number>>): void {
  console.log(`microseconds of Redis per push, median of ${rounds} runs of ${pushes} pushes`);
  const rows = STATES.map((state) => [state, ...SCRIPTS.map((script) => result[state][script])]);
  console.log(table(['', ...SCRIPTS], rows));
}

/**
 * One push of 128 bytes to every one of 18,000 connections, again and again: what the native and the
 * portable transport do of it, and a loop in C that calls send(2), each in a fresh process and in
 * turn, with the same devices.
 *
 *   writesPerSecond      connections over the time that the writing took
 *   firstToLastP99Ms     from the first device that has it to the last, 99th percentile of the pushes
 *   nativeRatioToBare    of the writes a second
 *
 * The devices read on the same machine while it writes. `--connections`, `--pushes` and `--rounds`
 * make it shorter, `--json` prints one line.
 */
import { parseArgs } from 'node:util';
import { table } from '../cli/commands/table.js';
import { sseEvent, sseOpening } from '../edge/protocol/http/sse.js';
import { HOLDER_NAMES, type HolderName, startHolder } from './memory/baseline-servers.js';
import { Fleet } from './support/fleet.js';
import { median, percentile, rounded } from './support/statistics.js';

const PAYLOAD_BYTES = 128;
/** Not counted: code is compiled. */
const WARM_UP_PUSHES = 5;

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    connections: { type: 'string', default: '18000' },
    pushes: { type: 'string', default: '50' },
    rounds: { type: 'string', default: '3' },
  },
});
const connections = Number(values.connections);
const pushes = Number(values.pushes);
const rounds = Number(values.rounds);

interface Run {
  readonly writesPerSecond: number;
  readonly firstToLastP99Ms: number;
}

const runs: Record<HolderName, Run[]> = { native: [], net: [], bare: [] };
for (let round = 0; round < rounds; round++) {
  for (const name of HOLDER_NAMES) runs[name].push(await run(name));
}
const native = medians(runs.native);
const net = medians(runs.net);
const bare = medians(runs.bare);
const result = {
  native,
  net,
  bare,
  nativeRatioToBare: rounded(native.writesPerSecond / bare.writesPerSecond, 3),
  netRatioToBare: rounded(net.writesPerSecond / bare.writesPerSecond, 3),
  connections,
  pushes,
  rounds,
};
if (values.json) console.log(JSON.stringify(result));
else printTable();

async function run(name: HolderName): Promise<Run> {
  const event = sseEvent('', Buffer.alloc(PAYLOAD_BYTES, 'x')).toString();
  const holder = await startHolder(name, sseOpening([]).toString(), event);
  const fleet = new Fleet(1);
  try {
    const paths = Array.from({ length: connections }, (_, i) => `/connect?clientId=device-${i}`);
    await fleet.connect([{ port: holder.port, paths }]);
    const rates: number[] = [];
    const firstToLastMs: number[] = [];
    for (let push = -WARM_UP_PUSHES; push < pushes; push++) {
      await fleet.expect([connections]);
      const { written, seconds } = await holder.write();
      if (written !== connections) throw new Error(`${name} wrote to ${written} connections`);
      const { firstUs, lastUs } = await fleet.arrived();
      if (push < 0) continue;
      rates.push(written / seconds);
      firstToLastMs.push((lastUs - firstUs) / 1e3);
    }
    return { writesPerSecond: median(rates), firstToLastP99Ms: percentile(firstToLastMs, 99) };
  } finally {
    fleet.stop();
    await holder.stop();
  }
}

function medians(of: readonly Run[]): Run {
  return {
    writesPerSecond: Math.round(median(of.map((each) => each.writesPerSecond))),
    firstToLastP99Ms: rounded(median(of.map((each) => each.firstToLastP99Ms)), 1),
  };
}

function printTable(): void {
  console.log(
    `${PAYLOAD_BYTES} bytes to each of ${connections} connections, median of ${rounds} rounds`,
  );
  const rows = Object.entries({ native, net, bare }).map(([name, each]) => [
    name,
    each.writesPerSecond,
    each.firstToLastP99Ms,
    rounded(each.writesPerSecond / bare.writesPerSecond, 3),
  ]);
  console.log(table(['', 'writes/s', 'first to last, p99 ms', 'of bare'], rows));
}

/**
 * One push of 128 bytes to each of 18,000 connections, repeatedly: the native and the portable
 * transport, and a loop in C that calls send(2). Each runs in a fresh process, in turn, with the
 * same devices.
 *
 *   writesPerSecond      connections over the duration of the writing
 *   firstToLastP99Ms     from the first device that receives it to the last, 99th percentile of
 *                        pushes
 *   nativeRatioToBare    ratio of writes per second to those of the loop in C
 *
 * The devices read on the same machine during the writing. `--connections`, `--pushes` and
 * `--rounds` make it shorter, `--json` prints one line.
 */
import { table } from '../cli/commands/table.js';
import { CHUNKED } from '../common/wire/body-framing.js';
import { SseProtocol, sseEvent } from '../edge/protocol/http/sse.js';
import { BASELINE_NAMES, type BaselineName, startBaseline } from './memory/baseline-servers.js';
import { Fleet } from './support/devices/fleet.js';
import { number, parseOptions } from './support/options.js';
import { report } from './support/report.js';
import { runInTurn } from './support/rounds.js';
import { median, medianOf, percentile, rounded } from './support/statistics.js';

const PAYLOAD_BYTES = 128;
/** Not measured: code is being compiled. */
const WARM_UP_PUSHES = 5;

interface Run {
  readonly writesPerSecond: number;
  readonly firstToLastP99Ms: number;
}

const { json, connections, pushes, rounds } = parseOptions({
  connections: number(18_000),
  pushes: number(50),
  rounds: number(3),
});
const runs = await runInTurn(rounds, BASELINE_NAMES, run);
const [native, net, bare] = [medians(runs.native), medians(runs.net), medians(runs.bare)];
const ratioToBare = ({ writesPerSecond }: Run) =>
  rounded(writesPerSecond / bare.writesPerSecond, 3);
const result = {
  native,
  net,
  bare,
  nativeRatioToBare: ratioToBare(native),
  netRatioToBare: ratioToBare(net),
  connections,
  pushes,
  rounds,
};
report(json, result, printTable);

async function run(name: BaselineName): Promise<Run> {
  const event = sseEvent(CHUNKED, '', Buffer.alloc(PAYLOAD_BYTES, 'x')).toString();
  const opening = new SseProtocol(CHUNKED).encodeOpening([], { ticket: undefined }).toString();
  const server = await startBaseline(name, opening, event);
  const fleet = new Fleet(1);
  try {
    const paths = Array.from({ length: connections }, (_, i) => `/connect?clientId=device-${i}`);
    await fleet.connect([{ port: server.port, paths }]);
    const rates: number[] = [];
    const firstToLastMs: number[] = [];
    for (let push = -WARM_UP_PUSHES; push < pushes; push++) {
      await fleet.expect([connections]);
      const { written, seconds } = await server.write();
      if (written !== connections) throw new Error(`${name} wrote to ${written} connections`);
      const { firstUs, lastUs } = await fleet.arrived();
      if (push < 0) continue;
      rates.push(written / seconds);
      firstToLastMs.push((lastUs - firstUs) / 1e3);
    }
    return { writesPerSecond: median(rates), firstToLastP99Ms: percentile(firstToLastMs, 99) };
  } finally {
    fleet.stop();
    await server.stop();
  }
}

function medians(of: readonly Run[]): Run {
  return {
    writesPerSecond: medianOf(of, ({ writesPerSecond }) => writesPerSecond, 0),
    firstToLastP99Ms: medianOf(of, ({ firstToLastP99Ms }) => firstToLastP99Ms, 1),
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
    ratioToBare(each),
  ]);
  console.log(table(['', 'writes/s', 'first to last, p99 ms', 'of bare'], rows));
}

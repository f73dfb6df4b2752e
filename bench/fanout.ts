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
 * With `--tls` every connection is one of TLS 1.3, and the loop in C seals before it sends; there
 * are 10,000, because handshakes take most of the time. That needs the `openssl` command.
 *
 * The devices read on the same machine during the writing. `--connections`, `--pushes` and
 * `--rounds` make it shorter, `--json` prints one line.
 */
import { table } from '../cli/commands/table.js';
import { CHUNKED } from '../common/wire/body-framing.js';
import { SseProtocol, sseEvent } from '../edge/protocol/http/sse.js';
import { BASELINE_NAMES, startBaseline } from './memory/baseline-servers.js';
import { makeCertificate } from './support/devices/certificate.js';
import { Fleet } from './support/devices/fleet.js';
import { Receivers } from './support/devices/receivers.js';
import { DEVICE_PROTOCOLS } from './support/devices/requests.js';
import { flag, isGiven, number, parseOptions } from './support/options.js';
import { report } from './support/report.js';
import { runInTurn } from './support/rounds.js';
import { median, medianOf, percentile, rounded } from './support/statistics.js';

const PAYLOAD_BYTES = 128;
/** Not measured: code is being compiled. */
const WARM_UP_PUSHES = 5;

/** How `receivers.c` finds a push. */
const MARK = '@t=0000000000000000';

interface Run {
  readonly writesPerSecond: number;
  /** Not measured with TLS. */
  readonly firstToLastP99Ms?: number;
}

const { json, connections, pushes, rounds, tls } = parseOptions({
  connections: number(isGiven('tls') ? 10_000 : 18_000),
  pushes: number(50),
  rounds: number(3),
  tls: flag(),
});
const certificate = tls ? makeCertificate() : undefined;
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
  tls,
};
report(json, result, printTable);

async function run(name: (typeof BASELINE_NAMES)[number]): Promise<Run> {
  const event = sseEvent(CHUNKED, '', Buffer.from(MARK.padEnd(PAYLOAD_BYTES, 'x'))).toString();
  const opening = new SseProtocol(CHUNKED).encodeOpening([], { ticket: undefined }).toString();
  const server = await startBaseline(name, opening, event, certificate);
  const devices = certificate === undefined ? fleetDevices() : tlsDevices();
  try {
    await devices.connect(
      server.port,
      Array.from({ length: connections }, (_, i) => `/connect?clientId=device-${i}`),
    );
    const rates: number[] = [];
    const firstToLastMs: number[] = [];
    for (let push = -WARM_UP_PUSHES; push < pushes; push++) {
      await devices.expect();
      const { written, seconds } = await server.write();
      if (written !== connections) throw new Error(`${name} wrote to ${written} connections`);
      const ms = await devices.arrived();
      if (push < 0) continue;
      rates.push(written / seconds);
      if (ms !== undefined) firstToLastMs.push(ms);
    }
    const writesPerSecond = median(rates);
    if (tls) return { writesPerSecond };
    return { writesPerSecond, firstToLastP99Ms: percentile(firstToLastMs, 99) };
  } finally {
    await devices.stop();
    await server.stop();
  }
}

interface Devices {
  connect(port: number, paths: readonly string[]): Promise<unknown>;
  /** To be called before a push. */
  expect(): Promise<unknown>;
  /** Resolves when every device has received the push, with the time from the first to the last. */
  arrived(): Promise<number | undefined>;
  stop(): unknown;
}

function fleetDevices(): Devices {
  const fleet = new Fleet(1);
  return {
    connect: (port, paths) => fleet.connect([{ port, paths }]),
    expect: () => fleet.expect([connections]),
    async arrived() {
      const { firstUs, lastUs } = await fleet.arrived();
      return (lastUs - firstUs) / 1e3;
    },
    stop: () => fleet.stop(),
  };
}

function tlsDevices(): Devices {
  const { sse } = DEVICE_PROTOCOLS;
  const receivers = new Receivers(sse, true);
  return {
    connect: (port, paths) =>
      receivers.connect(paths.map((path) => ({ port, request: sse.request(path) }))),
    expect: () => receivers.take(),
    async arrived() {
      await receivers.takeAll(connections);
      return undefined;
    },
    stop: () => receivers.stop(),
  };
}

function medians(of: readonly Run[]): Run {
  const writesPerSecond = medianOf(of, (run) => run.writesPerSecond, 0);
  if (tls) return { writesPerSecond };
  return { writesPerSecond, firstToLastP99Ms: medianOf(of, (run) => run.firstToLastP99Ms!, 1) };
}

function printTable(): void {
  console.log(
    `${PAYLOAD_BYTES} bytes to each of ${connections} connections, median of ${rounds} rounds`,
  );
  const rows = Object.entries({ native, net, bare }).map(([name, each]) => [
    name,
    each.writesPerSecond,
    each.firstToLastP99Ms ?? '',
    ratioToBare(each),
  ]);
  console.log(table(['', 'writes/s', 'first to last, p99 ms', 'of bare'], rows));
}

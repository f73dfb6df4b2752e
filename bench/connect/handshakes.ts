/**
 * Handshakes of TLS 1.3 a second, full and resumed: the native transport and the portable one
 * without an edge, and a server in C with OpenSSL. Each server is bound to one core and the clients
 * to another; they work in turn, so that the clients' own work does not count (handshakes.c).
 */
import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { table } from '../../cli/commands/table.js';
import { CHUNKED } from '../../common/wire/body-framing.js';
import { SseProtocol } from '../../edge/protocol/http/sse.js';
import { startBaseline } from '../memory/baseline-servers.js';
import { makeCertificate } from '../support/devices/certificate.js';
import { DEVICE_PROTOCOLS } from '../support/devices/requests.js';
import { compile } from '../support/processes/compile.js';
import { watchCpu } from '../support/processes/cpu.js';
import { LineProcess } from '../support/processes/line-process.js';
import { progress, report } from '../support/report.js';
import { runInTurn } from '../support/rounds.js';
import { medianOf, rounded } from '../support/statistics.js';

const SERVERS = ['native', 'net', 'openssl'] as const;
const KINDS = ['full', 'resumed'] as const;
type Kind = (typeof KINDS)[number];

const WARM_UP_CONNECTIONS = 2_000;

interface Run {
  readonly perSecond: number;
  /** Processor time of the server per handshake, in microseconds. */
  readonly cpuUs: number;
}

export async function compareHandshakes(
  connections: number,
  rounds: number,
  json: boolean,
): Promise<void> {
  const certificate = makeCertificate();
  const { request, accepted } = DEVICE_PROTOCOLS.sse;
  const opening = new SseProtocol(CHUNKED).encodeOpening([], { ticket: undefined }).toString();
  const cases = SERVERS.flatMap((server) => KINDS.map((kind) => `${server} ${kind}` as const));

  async function run(name: (typeof cases)[number]): Promise<Run> {
    progress(name);
    const [server, kind] = name.split(' ') as [(typeof SERVERS)[number], Kind];
    const { pid, port, stop } = await startBaseline(server, opening, '', certificate);
    bindToCore(pid, 0);
    const args = [`${port}`, request('/connect?clientId=device'), accepted];
    if (kind === 'resumed') args.push('resume');
    const program = compile('bench/connect/handshakes.c', true);
    const clients = new LineProcess('the process of the clients', program, args);
    bindToCore(clients.pid, cpus().length - 1);
    try {
      await clients.ask(`${WARM_UP_CONNECTIONS}`);
      await clients.ask('0');
      const usedCpu = watchCpu({ server: pid });
      const answer = await clients.ask(`${connections}`);
      const [us, resumed] = answer.split(' ').map(Number) as [number, number];
      if (resumed !== (kind === 'resumed' ? connections : 0)) {
        throw new Error(`${resumed} of ${connections} clients have resumed the session`);
      }
      const { user, system } = usedCpu().used.server!;
      return {
        perSecond: Math.round((connections * 1e6) / us),
        cpuUs: rounded((user + system) / connections, 1),
      };
    } finally {
      await clients.stop();
      await stop();
    }
  }

  const runs = await runInTurn(rounds, cases, run);
  const figure = (server: (typeof SERVERS)[number], kind: Kind): Run => ({
    perSecond: medianOf(runs[`${server} ${kind}`], ({ perSecond }) => perSecond, 0),
    cpuUs: medianOf(runs[`${server} ${kind}`], ({ cpuUs }) => cpuUs, 1),
  });
  const servers = Object.fromEntries(
    SERVERS.map((server) => [
      server,
      { full: figure(server, 'full'), resumed: figure(server, 'resumed') },
    ]),
  ) as Record<(typeof SERVERS)[number], Record<Kind, Run>>;
  const ratiosOf = (server: 'native' | 'net', of: (one: Run, other: Run) => number) =>
    Object.fromEntries(
      KINDS.map((kind) => [kind, rounded(of(servers[server][kind], servers.openssl[kind]), 3)]),
    );
  const byRate = (one: Run, other: Run) => one.perSecond / other.perSecond;
  const byCpu = (one: Run, other: Run) => other.cpuUs / one.cpuUs;
  const result = {
    ...servers,
    nativeRatioToOpenssl: ratiosOf('native', byRate),
    netRatioToOpenssl: ratiosOf('net', byRate),
    nativeCpuRatio: ratiosOf('native', byCpu),
    connections,
    rounds,
  };
  report(json, result, () => {
    console.log(`${connections} handshakes of TLS 1.3, median of ${rounds} rounds`);
    const rows = KINDS.flatMap((kind) =>
      SERVERS.map((server) => {
        const { perSecond, cpuUs } = servers[server][kind];
        const ratio = rounded(byRate(servers[server][kind], servers.openssl[kind]), 3);
        return [`${server}, ${kind}`, perSecond, ratio, cpuUs];
      }),
    );
    console.log(table(['', 'a second', 'of openssl', 'CPU µs'], rows));
  });
}

/** Also the threads that the process has already. */
function bindToCore(pid: number, core: number): void {
  execFileSync('taskset', ['-a', '-c', '-p', `${core}`, `${pid}`], { stdio: 'ignore' });
}

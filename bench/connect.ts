/**
 * How many connections a second are accepted, admitted and answered when many devices come at once:
 * by an edge of a whole cluster on the native and on the portable transport, and by a holder in C
 * that answers everybody the same.
 *
 * What the edge does beside: it parses the request, finds the shard and its owner, announces the
 * connection over Redis, and reads the inbox of the client before the connection counts as live.
 *
 * `--connections` and `--rounds` make it shorter, `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { table } from '../cli/table.js';
import { sseOpening } from '../edge/protocol/sse.js';
import { Fleet } from './fleet.js';
import { HOLDER_NAMES, type HolderName, startHolder } from './holders.js';
import { startOneEdge } from './one-edge.js';
import { median, rounded } from './statistics.js';

const WARM_UP_CONNECTIONS = 2_000;
/** Until what the last connections have left to do is done. */
const SETTLE_MS = 2_000;

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    connections: { type: 'string', default: '16000' },
    rounds: { type: 'string', default: '3' },
  },
});
const connections = Number(values.connections);
const rounds = Number(values.rounds);

const rates: Record<HolderName, number[]> = { native: [], net: [], bare: [] };
for (let round = 0; round < rounds; round++) {
  for (const name of HOLDER_NAMES) rates[name].push(await measure(name));
}
const of = (name: HolderName) => Math.round(median(rates[name]));
const result = {
  native: of('native'),
  net: of('net'),
  bare: of('bare'),
  nativeRatioToBare: rounded(of('native') / of('bare'), 3),
  connections,
  rounds,
};
if (values.json) {
  console.log(JSON.stringify(result));
} else {
  console.log(`${connections} devices connect at once, median of ${rounds} rounds`);
  const rows = HOLDER_NAMES.map((name) => [name, of(name), rounded(of(name) / of('bare'), 3)]);
  console.log(table(['', 'answered/s', 'of bare'], rows));
}

/** Connections a second. */
async function measure(name: HolderName): Promise<number> {
  const server =
    name === 'bare'
      ? await startHolder('bare', sseOpening([]).toString(), '')
      : await startOneEdge(name);
  const fleet = new Fleet(1);
  try {
    await connect(fleet, server.port, WARM_UP_CONNECTIONS);
    await fleet.close();
    await sleep(SETTLE_MS);
    const seconds = await connect(fleet, server.port, connections);
    return connections / seconds;
  } finally {
    fleet.stop();
    await server.stop();
  }
}

async function connect(fleet: Fleet, port: number, count: number): Promise<number> {
  const paths = Array.from({ length: count }, (_, i) => `/connect?clientId=device-${i}`);
  return (await fleet.connect([{ port, paths }])).seconds;
}

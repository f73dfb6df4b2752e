/**
 * Control in a big cluster: a real control and a real Redis; the edges are simulated, each with a
 * gRPC connection of its own, in a few processes.
 *
 *   sizes          for each number of edges: `handlingUs`, CPU of the code of control per report,
 *                  without gRPC and the kernel; `reportUs`, CPU of control per report in all,
 *                  measured with those beyond one every two seconds; `restShare`, the share of a
 *                  core that control uses while nothing happens. Shards per edge are about the same
 *                  at all sizes
 *   contactSeconds from the start of all edges until each has the assignment in which they own
 *                  all shards; control delays the first one by 2 to 8 s
 *   contactPauseMs longest time in which control did not answer meanwhile
 *   contactMbMax   the most resident memory that control had by then
 *   memoryMb       resident memory of control with all edges
 *   movedBytes     bytes to each edge while one with a single shard is drained
 *   movedShards    shards that moved meanwhile
 *   placedSeconds  from the death of `dead` edges until the last of the others has an assignment in
 *                  which they own nothing
 *   pauseMs        longest time in which control did not answer while they died
 *
 * CPU is user and system time of all threads. `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { table } from '../cli/commands/table.js';
import { ownerOf, shardsOf } from '../common/cluster/assignment.js';
import { measureHandling } from './control/report-handling.js';
import { type DescribedEdge, SimulatedCluster } from './control/simulated-cluster.js';
import { nowUs } from './support/clock.js';
import { residentBytes, residentBytesMax } from './support/memory/process-memory.js';
import { number, parseOptions } from './support/options.js';
import { cpuTime, totalUs } from './support/processes/cpu.js';
import { progress, report } from './support/report.js';
import { rounded } from './support/statistics.js';

const SIZES = [10, 100, 300];
const PROCESSES = 3;
const CAPACITY = 10_000;
/** As edges do. */
const REPORT_MS = 2_000;
/** Reports per second of all edges while the cost of one is measured. */
const REPORTS_PER_SECOND = 2_000;
/** Time in which control's compilers warm up. */
const WARM_UP_MS = 3_000;
const PING_MS = 20;

const { json, edges, shards, dead, seconds } = parseOptions({
  edges: number(1_000, 2, 2_000),
  shards: number(16_384, 2, 16_384),
  dead: number(50),
  seconds: number(8),
});
if (dead >= edges / 2) throw new Error(`--dead ${dead}: expected less than half of --edges`);

interface Cost {
  readonly edges: number;
  readonly handlingUs: number;
  readonly reportUs: number;
  readonly restShare: number;
}

const sizes: Cost[] = [];
for (const size of SIZES.filter((one) => one < edges)) {
  progress(`${size} edges, ${shardsFor(size)} shards`);
  const cluster = await SimulatedCluster.start(shardsFor(size));
  try {
    await addEdges(cluster, 'edge', size);
    sizes.push(await measureCost(cluster, size));
  } finally {
    await cluster.stop();
  }
}
const result = await measureLargest();
report(json, result, printTable);

/** A power of two. */
function shardsFor(size: number): number {
  return 2 ** Math.round(Math.log2((shards * size) / edges));
}

async function measureLargest() {
  progress(`${edges} edges, ${shards} shards`);
  const cluster = await SimulatedCluster.start(shards);
  try {
    const pauses = watchPauses(cluster);
    const startMs = performance.now();
    const [group] = await Promise.all([
      cluster.addEdges(described('dying', dead)),
      addEdges(cluster, 'edge', edges - dead - 1),
      // So small that its share is one shard.
      cluster.addEdges([{ id: 'small', capacity: Math.ceil((CAPACITY * edges) / shards) }]),
    ]);
    await cluster.untilReached(await cluster.untilCalm(edges));
    const contact = {
      contactSeconds: rounded((performance.now() - startMs) / 1_000, 1),
      contactPauseMs: Math.round(pauses.stop()),
      contactMbMax: Math.round(residentBytesMax(cluster.pid) / 1e6),
    };
    progress(JSON.stringify(contact));
    sizes.push(await measureCost(cluster, edges));
    const memoryMb = Math.round(residentBytes(cluster.pid) / 1e6);
    const moved = await drainSmallest(cluster);
    const placed = await killGroup(cluster, group);
    return { sizes, ...contact, memoryMb, ...moved, ...placed, shards, dead };
  } finally {
    await cluster.stop();
  }
}

function described(name: string, count: number): DescribedEdge[] {
  return Array.from({ length: count }, (_, i) => {
    return { id: `${name}-${String(i).padStart(4, '0')}`, capacity: CAPACITY };
  });
}

async function addEdges(cluster: SimulatedCluster, name: string, count: number): Promise<void> {
  const all = described(name, count);
  const perProcess = Math.ceil(count / PROCESSES);
  const parts = Array.from({ length: PROCESSES }, (_, i) =>
    all.slice(i * perProcess, (i + 1) * perProcess),
  );
  await Promise.all(parts.map((part) => cluster.addEdges(part)));
}

/** CPU of a report, and the share of a core at rest. */
async function measureCost(cluster: SimulatedCluster, count: number): Promise<Cost> {
  await cluster.untilCalm(count);
  await sleep(WARM_UP_MS);
  const rest = await measureFor(cluster);
  await cluster.ask({ type: 'report', intervalMs: (count * 1_000) / REPORTS_PER_SECOND });
  await sleep(WARM_UP_MS);
  const busy = await measureFor(cluster);
  await cluster.ask({ type: 'report', intervalMs: REPORT_MS });
  const handlingUs = await measureHandling(count, cluster.shardCount);
  const reportUs = ((busy.cpuShare - rest.cpuShare) * 1e6) / (busy.perSecond - rest.perSecond);
  const cost = {
    edges: count,
    handlingUs: rounded(handlingUs, 1),
    reportUs: rounded(reportUs, 1),
    restShare: rounded(rest.cpuShare, 3),
  };
  progress(JSON.stringify(cost));
  return cost;
}

async function measureFor(cluster: SimulatedCluster) {
  const cpuUs = () => totalUs(cpuTime(cluster.pid));
  const before = await cluster.ask({ type: 'state' });
  const [startUs, cpuBeforeUs] = [nowUs(), cpuUs()];
  await sleep(seconds * 1_000);
  const [passedUs, usedUs] = [nowUs() - startUs, cpuUs() - cpuBeforeUs];
  const after = await cluster.ask({ type: 'state' });
  return {
    cpuShare: usedUs / passedUs,
    perSecond: ((after.reports - before.reports) * 1e6) / passedUs,
  };
}

async function drainSmallest(cluster: SimulatedCluster) {
  await cluster.untilReached(await cluster.untilCalm(edges));
  const movedShards = shardsOf(cluster.feed.current!, 'small').length;
  const before = await cluster.ask({ type: 'state' });
  const answer = await fetch(`${cluster.cluster.controlUrl}/v1/edges/small/drain`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  });
  if (!answer.ok) throw new Error(`drain: ${await answer.text()}`);
  const end = await cluster.until(
    'the small edge is empty',
    (assignment) => assignment.moves.length === 0 && shardsOf(assignment, 'small').length === 0,
  );
  const after = await cluster.untilReached(end);
  const received = after.bytes.map((bytes, i) => bytes - before.bytes[i]!);
  return { movedShards, movedBytes: Math.max(...received) };
}

async function killGroup(
  cluster: SimulatedCluster,
  group: Awaited<ReturnType<SimulatedCluster['addEdges']>>,
) {
  const pauses = watchPauses(cluster);
  const startUs = nowUs();
  cluster.kill(group);
  const end = await cluster.until('the shards of the dead are placed', (assignment) =>
    assignment.owners.every(
      (_, shard) => ownerOf(assignment, shard)?.id.startsWith('dying') === false,
    ),
  );
  await cluster.untilReached(end);
  const placedSeconds = rounded((nowUs() - startUs) / 1e6, 2);
  await sleep(WARM_UP_MS);
  return { placedSeconds, pauseMs: Math.round(pauses.stop()) };
}

/** Requests something small again and again. */
function watchPauses(cluster: SimulatedCluster) {
  let longestMs = 0;
  let sentAtMs: number | undefined;
  const timer = setInterval(async () => {
    if (sentAtMs !== undefined) return;
    sentAtMs = performance.now();
    // After the end of the bench there is no answer.
    await fetch(`${cluster.cluster.controlUrl}/healthz`).then(
      (answer) => answer.text(),
      () => {},
    );
    longestMs = Math.max(longestMs, performance.now() - sentAtMs);
    sentAtMs = undefined;
  }, PING_MS);
  return {
    stop() {
      clearInterval(timer);
      return longestMs;
    },
  };
}

function printTable(): void {
  console.log(
    table(
      ['edges', 'handling of a report, us', 'report in all, us', 'share of a core at rest'],
      result.sizes.map((one) => [one.edges, one.handlingUs, one.reportUs, one.restShare]),
    ),
  );
  const { contactSeconds, contactPauseMs, contactMbMax } = result;
  const { memoryMb, movedBytes, movedShards, placedSeconds, pauseMs } = result;
  console.log(`first contact: ${contactSeconds} s, pause ${contactPauseMs} ms, ${contactMbMax} MB`);
  console.log(`with ${edges} edges and ${shards} shards: ${memoryMb} MB`);
  console.log(`${movedBytes} bytes to each edge for ${movedShards} moved shards`);
  console.log(`shards of ${dead} dead edges placed after ${placedSeconds} s, pause ${pauseMs} ms`);
}

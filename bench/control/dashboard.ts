/**
 * Pages of the dashboard open at a big cluster: a real control and a real Redis, simulated edges,
 * ten events a second, and Chromium. One page is drawn; the others, which would need more
 * processors than control, are its requests, as often as it sends them. For each view and number of
 * pages:
 *
 *   cpuShare       share of a core that control uses, `edges` reporting every two seconds included
 *   bytesPerSecond bytes that a page receives, as they travel
 *   droppedShare   share of the frames that one page draws more than half a frame late
 *
 * `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium, type Page } from 'playwright-core';
import { table } from '../../cli/commands/table.js';
import { nowUs } from '../support/clock.js';
import { number, parseOptions } from '../support/options.js';
import { cpuTime, totalUs } from '../support/processes/cpu.js';
import { progress, report } from '../support/report.js';
import { rounded } from '../support/statistics.js';
import { SimulatedCluster } from './simulated-cluster.js';

const CHROMIUM = '/usr/bin/chromium';
const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking'];
const VIEWS = ['overview', 'edges', 'shards', 'events'];
/** Each is an action that no edge takes part in. */
const EVENTS_PER_SECOND = 10;
const CAPACITY = 10_000;
const WARM_UP_MS = 6_000;

const { json, edges, shards, pages, seconds } = parseOptions({
  edges: number(1_000, 2, 2_000),
  shards: number(16_384, 2, 16_384),
  pages: number(20, 1, 100),
  seconds: number(8),
});

interface Measured {
  readonly view: string;
  readonly pages: number;
  readonly cpuShare: number;
  readonly bytesPerSecond: number;
  readonly droppedShare: number;
}

/** A request of a page. */
interface Sent {
  readonly accept: string;
  readonly times: number;
}

const cluster = await SimulatedCluster.start(shards);
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
let isDone = false;
try {
  progress(`${edges} edges, ${shards} shards`);
  const described = Array.from({ length: edges }, (_, i) => ({
    id: `edge-${String(i).padStart(4, '0')}`,
    capacity: CAPACITY,
  }));
  await cluster.addEdges(described);
  await cluster.untilCalm(edges);
  void makeEvents();
  const measured: Measured[] = [await measure('none', 0)];
  for (const view of VIEWS) {
    for (const count of [1, pages]) measured.push(await measure(view, count));
  }
  report(json, { edges, shards, measured }, () => printTable(measured));
} finally {
  isDone = true;
  await browser.close();
  await cluster.stop();
}

async function makeEvents(): Promise<void> {
  for (let i = 0; !isDone; i++) {
    const path = `/v1/${i % 2 === 0 ? 'pause' : 'resume'}`;
    await post(path).catch(() => {});
    await sleep(1_000 / EVENTS_PER_SECOND);
  }
}

function post(path: string): Promise<Response> {
  const headers = { 'content-type': 'application/json' };
  return fetch(cluster.cluster.controlUrl + path, { method: 'POST', headers, body: '{}' });
}

async function measure(view: string, count: number): Promise<Measured> {
  const requests = new Map<string, Sent>();
  const page = count === 0 ? undefined : await openPage(view, requests);
  await sleep(WARM_UP_MS);
  const stop = new AbortController();
  for (let i = 1; i < count; i++) {
    for (const [url, sent] of requests) void repeat(url, sent, stop.signal);
  }
  const received = await countBytes(page);
  const drawn = page?.evaluate<number[]>(frameTimes(seconds * 1_000));
  const cpuUs = () => totalUs(cpuTime(cluster.pid));
  const [startUs, cpuBeforeUs, bytesBefore] = [nowUs(), cpuUs(), received()];
  await sleep(seconds * 1_000);
  const passedUs = nowUs() - startUs;
  const result = {
    view,
    pages: count,
    cpuShare: rounded((cpuUs() - cpuBeforeUs) / passedUs, 3),
    bytesPerSecond: Math.round((received() - bytesBefore) / (passedUs / 1e6)),
    droppedShare: rounded(droppedOf((await drawn) ?? []), 3),
  };
  progress(JSON.stringify(result));
  stop.abort();
  await page?.context().close();
  return result;
}

/** @param requests those that the page sends to the API while it warms up, by URL */
async function openPage(view: string, requests: Map<string, Sent>): Promise<Page> {
  const page = await browser.newPage();
  page.on('request', (request) => {
    const url = request.url();
    if (!url.includes('/v1/')) return;
    const { accept = '*/*' } = request.headers();
    requests.set(url, { accept, times: (requests.get(url)?.times ?? 0) + 1 });
  });
  await page.goto(`${cluster.cluster.controlUrl}/#/${view}`);
  await page.locator('main .card').first().waitFor();
  return page;
}

/**
 * Sends a request as a page does: with the tag of the last answer, and never two at a time. A
 * stream of events is read until the end.
 */
async function repeat(url: string, { accept, times }: Sent, signal: AbortSignal): Promise<void> {
  const everyMs = WARM_UP_MS / times;
  let tag = '';
  await sleep(Math.random() * everyMs);
  while (!signal.aborted) {
    const headers = { accept, 'if-none-match': tag };
    const answer = await fetch(url, { signal, headers }).catch(() => {});
    tag = answer?.headers.get('etag') ?? tag;
    await answer?.arrayBuffer().catch(() => {});
    await sleep(everyMs);
  }
}

/** Returns a function that returns the bytes that the page has received since. */
async function countBytes(page: Page | undefined): Promise<() => number> {
  let bytes = 0;
  const session = await page?.context().newCDPSession(page);
  session?.on('Network.dataReceived', ({ encodedDataLength, dataLength }) => {
    bytes += encodedDataLength || dataLength;
  });
  await session?.send('Network.enable');
  return () => bytes;
}

/** Code for the page: the milliseconds between frames. */
function frameTimes(ms: number): string {
  return `new Promise((resolve) => {
    const times = [];
    const start = performance.now();
    let last = start;
    const onFrame = () => {
      const now = performance.now();
      times.push(now - last);
      last = now;
      if (now - start < ${ms}) requestAnimationFrame(onFrame);
      else resolve(times);
    };
    requestAnimationFrame(onFrame);
  })`;
}

/** Share of the frames that did not appear in time, at 60 a second. */
function droppedOf(times: readonly number[]): number {
  const frameMs = 1_000 / 60;
  const expected = times.reduce((sum, ms) => sum + ms, 0) / frameMs;
  const missed = times.reduce((sum, ms) => sum + Math.max(0, Math.round(ms / frameMs) - 1), 0);
  return expected === 0 ? 0 : missed / expected;
}

function printTable(measured: readonly Measured[]): void {
  const head = ['view', 'pages', 'CPU of control', 'bytes/s per page', 'frames dropped'];
  const rows = measured.map(({ view, pages: count, cpuShare, bytesPerSecond, droppedShare }) => [
    view,
    count,
    `${rounded(100 * cpuShare, 1)} %`,
    bytesPerSecond,
    `${rounded(100 * droppedShare, 1)} %`,
  ]);
  console.log(table(head, rows));
}

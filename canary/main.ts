/**
 * Starts a canary: synthetic clients, one per edge, Redis master and protocol, that are pushed to
 * all the time. It uses only what devices, backends and operators use.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials, Metadata } from '@grpc/grpc-js';
import { HttpConnections } from '../common/http/connections.js';
import { closeHttp, createHttpServer, listenHttp } from '../common/http/server.js';
import { listenableHost } from '../common/net/any-host.js';
import { announceListening, runRole, stopOnSignals } from '../common/process/lifecycle.js';
import { createLogger } from '../common/process/log.js';
import { Metrics } from '../common/process/metrics.js';
import { RouterStream } from '../drill/load/router-stream.js';
import { parseCanaryConfig } from './config.js';
import { ControlClient } from './control-client.js';
import { signDeviceToken } from './device-tokens.js';
import { failureReason } from './failure-reason.js';
import { Figures } from './figures.js';
import { Flock } from './flock.js';

const HTTP_CONNECTIONS_MAX = 64;
const TICK_MS = 200;
/** If a tick is later than this, the canary itself did not run. */
const STALL_MS = 1_000;
const SWEEP_MS = 1_000;
const MAP_MS = 5_000;
const REPORT_MS = 5_000;

await runRole(async () => {
  const config = parseCanaryConfig(process.env);
  const { canaryId, deviceKey } = config;
  const host = await listenableHost(config.host);
  const log = createLogger('canary', canaryId, config.logLevel);
  const metrics = new Metrics();
  const httpConnections = new HttpConnections(metrics, 'canary', HTTP_CONNECTIONS_MAX);
  const control = new ControlClient(config.controlUrl, config.controlToken);
  const figures = new Figures(metrics);
  const streams = openStreams(config);
  const flock = new Flock({
    ...config,
    streams,
    signToken: deviceKey && ((clientId) => signDeviceToken(deviceKey, clientId)),
    figures,
    log,
  });
  metrics.gauges('longline_canary_devices', 'Synthetic devices by state', 'state', () => {
    const { devices, connected } = flock.coverage();
    return [
      ['connected', connected],
      ['disconnected', devices - connected],
    ];
  });
  metrics.gauges(
    'longline_canary_combinations',
    'Combinations of an edge, a Redis master and a protocol, by whether a synthetic device is connected there',
    'state',
    () => {
      const { combinations, covered } = flock.coverage();
      return [
        ['covered', covered],
        ['uncovered', combinations - covered],
      ];
    },
  );
  const problems = new Map<string, string>();
  /** Carries out a request to control; an outage and its end are logged once each. */
  const ask = async (what: string, request: () => Promise<void>): Promise<void> => {
    try {
      await request();
      if (problems.delete(what)) log.info({ request: what }, 'control answers again');
    } catch (error) {
      const reason = failureReason(error);
      if (!problems.has(what)) log.warn({ request: what, reason }, 'control does not answer');
      problems.set(what, reason);
    }
  };
  const http = createHttpServer(metrics, httpConnections, () => ({
    notReady: flock.hasMap ? [] : ['control has not returned the owners of shards yet'],
    degraded: [...[...problems].map(([what, reason]) => `${what}: ${reason}`), ...flock.problems()],
  }));
  const httpPort = await listenHttp(http, host, config.httpPort);

  const follow = () => ask('shard map', async () => flock.follow(await control.shardMap()));
  const report = () =>
    ask('report', () =>
      control.report({
        id: canaryId,
        ...flock.coverage(),
        ...figures.recent(performance.now()),
        lastFinding: flock.lastFinding,
      }),
    );
  let tickedAtMs = performance.now();
  const timers = [
    setInterval(() => {
      const nowMs = performance.now();
      if (nowMs - tickedAtMs > STALL_MS) flock.onStalled(tickedAtMs, nowMs);
      tickedAtMs = nowMs;
      flock.tick(nowMs);
    }, TICK_MS),
    setInterval(() => {
      for (const stream of streams) stream.sweep(performance.now());
    }, SWEEP_MS),
  ];
  const stopping = new AbortController();
  void repeat(follow, MAP_MS, stopping.signal);
  void repeat(report, REPORT_MS, stopping.signal);
  stopOnSignals(log, async () => {
    stopping.abort();
    for (const timer of timers) clearInterval(timer);
    flock.stop();
    for (const stream of streams) stream.close();
    await closeHttp(http);
  });
  announceListening(log, { http: httpPort });
});

/** Never starts a call while the one before is in progress. */
async function repeat(work: () => Promise<void>, everyMs: number, signal: AbortSignal) {
  while (!signal.aborted) {
    await work();
    await sleep(everyMs, undefined, { signal }).catch(() => {});
  }
}

function openStreams({
  pushAddresses,
  pushToken,
  pushCa,
}: ReturnType<typeof parseCanaryConfig>): RouterStream[] {
  const metadata = new Metadata();
  if (pushToken !== undefined) metadata.set('authorization', `Bearer ${pushToken}`);
  const access = {
    credentials: pushCa ? credentials.createSsl(pushCa) : credentials.createInsecure(),
    metadata,
  };
  return pushAddresses.map((address) => new RouterStream(address, Math.random, access));
}

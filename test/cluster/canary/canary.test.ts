/**
 * The canary in a cluster of real processes: it is silent while edges die and are drained, and
 * reports a cluster that has a bug.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from '@jest/globals';
import { LocalCluster } from '../../../cli/local/cluster.js';
import { startRedis } from '../../../cli/local/redis.js';
import { packageRoot } from '../../../common/process/package-root.js';
import type { CanariesResponse } from '../../../control/operator/canaries.js';
import { MUTANTS } from '../../../drill/mutants/mutants.js';
import { mutate } from '../../../drill/mutants/mutate.js';
import { Authority } from '../../support/certificates.js';
import { metricOf } from '../../support/cluster/metric.js';
import { type Role, startRole } from '../../support/cluster/role.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { eventually } from '../../support/eventually.js';
import { SECRET } from '../../support/tokens.js';

/** A window, with the wait for what is on its way, takes up to 35 s at first. */
const WINDOWS_MS_MAX = 120_000;
const READY_MS_MAX = 90_000;
/** One for each protocol. */
const PROTOCOLS = 3;

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function startCanary(cluster: LocalCluster, env: NodeJS.ProcessEnv = {}): Promise<Role> {
  const canary = await startRole('canary', {
    LONGLINE_CANARY_ID: 'canary-1',
    LONGLINE_CANARY_HTTP_PORT: '0',
    LONGLINE_CANARY_CONTROL_URL: cluster.controlUrl,
    LONGLINE_CANARY_CONNECT_URL: cluster.routerUrl,
    LONGLINE_CANARY_PUSH_ADDRESS: cluster.routerAddress,
    ...env,
  });
  ends.push(() => canary.stop());
  return canary;
}

/** Values of metrics of the canary. */
const metricsOf = ({ ports }: Role) => {
  const url = `http://127.0.0.1:${ports.http}`;
  return {
    covered: () => metricOf(url, 'longline_canary_combinations', { state: 'covered' }),
    uncovered: () => metricOf(url, 'longline_canary_combinations', { state: 'uncovered' }),
    judged: () => metricOf(url, 'longline_canary_windows_total', { outcome: 'judged' }),
    abandoned: () => metricOf(url, 'longline_canary_windows_total', { outcome: 'abandoned' }),
    found: (check: string) => metricOf(url, 'longline_canary_findings_total', { check }),
    stored: () => metricOf(url, 'longline_canary_pushes_total', { verdict: 'STORED' }),
  };
};

async function canaryOf(cluster: LocalCluster, headers = {}) {
  const response = await fetch(`${cluster.controlUrl}/v1/canaries`, { headers });
  return ((await response.json()) as CanariesResponse).canaries[0];
}

test('covers each edge with each protocol, and finds nothing while edges die and are drained', async () => {
  const running = await RunningCluster.start({ edges: 3 });
  ends.push(() => running.stop());
  const { cluster } = running;
  const canary = metricsOf(await startCanary(cluster));
  await eventually(async () => (await canary.covered()) === 3 * PROTOCOLS, READY_MS_MAX);
  await cluster.kill('edge-1');
  await running.postToControl('/v1/edges/edge-2/drain');
  // All are on the third edge when it owns everything.
  await eventually(
    async () => (await canary.covered()) === PROTOCOLS && (await canary.uncovered()) === 0,
    READY_MS_MAX,
  );
  const before = await canary.judged();
  await eventually(async () => (await canary.judged()) >= before + 6, WINDOWS_MS_MAX);
  expect(await canary.stored()).toBeGreaterThan(0);
  expect(await canary.abandoned()).toBe(0);
  const report = await canaryOf(cluster);
  expect(report).toMatchObject({ id: 'canary-1', findings: {}, lastFinding: '' });
  expect(report!.pushes).toBeGreaterThan(50);
  expect(report!.p50Ms).toBeGreaterThan(0);
}, 300_000);

test('reports verdicts that are false, with TLS, where devices and backends are authenticated', async () => {
  const root = await mkdtemp(join(tmpdir(), 'canary-'));
  ends.push(() => rm(root, { recursive: true }));
  const { patches } = MUTANTS.find(({ name }) => name === 'always-written')!;
  await mutate(patches, packageRoot, root);
  const authority = new Authority();
  const { cert, key } = authority.issue('cluster');
  const redis = await startRedis();
  ends.push(() => redis.stop());
  const cluster = await LocalCluster.start({
    redisUrl: redis.url,
    edges: 1,
    ports: 'free',
    restart: false,
    root,
    env: {
      LONGLINE_AUTH: 'jwt',
      LONGLINE_JWT_ALGORITHMS: 'HS256',
      LONGLINE_JWT_KEYS: SECRET,
      LONGLINE_TICKET_SECRET: SECRET,
      LONGLINE_LINK_TOKEN: SECRET,
      LONGLINE_BACKEND_TOKENS: `canary:push:${SECRET}`,
      LONGLINE_CONTROL_VIEWER_TOKENS: `canary:${SECRET}`,
      LONGLINE_EDGE_TLS_CERT_FILE: cert,
      LONGLINE_EDGE_TLS_KEY_FILE: key,
      LONGLINE_GRPC_TLS_CERT_FILE: cert,
      LONGLINE_GRPC_TLS_KEY_FILE: key,
      LONGLINE_LINK_TLS_CA_FILE: authority.ca,
    },
  });
  ends.push(() => cluster.stop());
  const canary = metricsOf(
    await startCanary(cluster, {
      LONGLINE_CANARY_CONTROL_TOKEN: SECRET,
      LONGLINE_CANARY_PUSH_TOKEN: SECRET,
      LONGLINE_CANARY_DEVICE_KEY: SECRET,
      LONGLINE_CANARY_PUSH_TLS_CA_FILE: authority.ca,
      NODE_EXTRA_CA_CERTS: authority.ca,
    }),
  );
  await eventually(async () => (await canary.covered()) === PROTOCOLS, READY_MS_MAX);
  await eventually(async () => (await canary.found('false_verdict')) > 0, WINDOWS_MS_MAX);
  const headers = { authorization: `Bearer ${SECRET}` };
  await eventually(async () => {
    const report = await canaryOf(cluster, headers);
    return report?.lastFinding.includes('the device had no connection') === true;
  });
}, 300_000);

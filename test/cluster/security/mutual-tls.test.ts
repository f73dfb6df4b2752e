/**
 * Goal: a cluster works with roles and backends that authenticate with certificates instead of
 * tokens, and rejects all others. Method: processes with TLS on all gRPC ports; pushes with the
 * command line.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from '@jest/globals';
import { packageRoot } from '../../../common/process/package-root.js';
import { Authority, type CertificateFiles, OPENSSL } from '../../support/certificates.js';
import { startRole } from '../../support/cluster/role.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import { SECRET, tokenOf } from '../../support/tokens.js';

const test = testWith(OPENSSL);
const DESK = 'desk-token-0123456789';

let authority: Authority;
let running: RunningCluster;
let device: SseClient;

beforeAll(async () => {
  authority = new Authority();
  const server = authority.issue('longline');
  const member = authority.issue('member');
  running = await RunningCluster.start({
    edges: 2,
    env: {
      LONGLINE_SHARD_COUNT: '64',
      // The command line waits that long for a verdict, also on a busy machine.
      LONGLINE_ROUTER_WAIT_MS: '10000',
      LONGLINE_AUTH: 'jwt',
      LONGLINE_JWT_ALGORITHMS: 'HS256',
      LONGLINE_JWT_KEYS: SECRET,
      LONGLINE_TICKET_SECRET: SECRET.toUpperCase(),
      LONGLINE_GRPC_TLS_CERT_FILE: server.cert,
      LONGLINE_GRPC_TLS_KEY_FILE: server.key,
      LONGLINE_GRPC_TLS_CLIENT_CA_FILE: authority.ca,
      ...linkEnv(member),
      LONGLINE_LINK_CERTIFICATES: 'member',
      LONGLINE_BACKEND_CERTIFICATES: 'shop:push,reader:presence',
      LONGLINE_BACKEND_TOKENS: `desk:push:${DESK}`,
    },
  });
  device = await SseClient.open(`${running.connectUrl('alice')}&token=${tokenOf('alice')}`);
  await running.untilCaughtUp();
});

afterAll(async () => {
  device?.close();
  await running?.stop();
});

function linkEnv({ cert, key }: CertificateFiles): NodeJS.ProcessEnv {
  return {
    LONGLINE_LINK_TLS_CA_FILE: authority.ca,
    LONGLINE_LINK_TLS_CERT_FILE: cert,
    LONGLINE_LINK_TLS_KEY_FILE: key,
  };
}

/** Runs `longline push alice <text>`. */
function push(text: string, ...options: string[]) {
  const command = join(packageRoot, 'dist/cli/main.js');
  const { routerAddress } = running.cluster;
  const args = ['push', 'alice', text, '--router', routerAddress, '--json', ...options];
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

function withCertificate({ cert, key }: CertificateFiles): string[] {
  return ['--ca', authority.ca, '--cert', cert, '--key', key];
}

test('a backend pushes with its certificate, or with a token', async () => {
  const ways = {
    'by certificate': withCertificate(authority.issue('shop')),
    'by token': ['--ca', authority.ca, '--token', DESK],
  };
  for (const [text, options] of Object.entries(ways)) {
    const { status, stdout } = push(text, ...options);
    expect(JSON.parse(stdout)).toMatchObject({ clientId: 'alice', verdict: 'WRITTEN' });
    expect(status).toBe(0);
    await eventually(() => device.events.some(({ data }) => data === text));
  }
});

test('a backend without valid credentials is rejected with the reason', () => {
  const strangers = new Authority();
  const rejected: [options: string[], message: RegExp][] = [
    [['--ca', authority.ca], /UNAUTHENTICATED/],
    [withCertificate(authority.issue('reader')), /PERMISSION_DENIED/],
    [withCertificate(authority.issue('unknown')), /UNAUTHENTICATED/],
    [withCertificate(strangers.issue('shop')), /UNAUTHENTICATED/],
    [['--ca', strangers.ca, '--token', DESK], /self-signed certificate/],
    [['--token', DESK], /cannot call/],
    [['--ca', '/nowhere/ca.pem'], /nowhere/],
  ];
  for (const [options, message] of rejected) {
    const { status, stdout, stderr } = push('not for alice', ...options);
    expect({ options, status, stdout }).toEqual({ options, status: 2, stdout: '' });
    expect(stderr).toMatch(message);
  }
  expect(device.events.map(({ data }) => data)).not.toContain('not for alice');
});

test('over HTTP, the same backends push, and the same are rejected', () => {
  const url = running.cluster.pushUrl();
  const shop = withCertificate(authority.issue('shop'));
  const answerTo = (...options: string[]) => {
    const curlOptions = options.map((option) => option.replace('--ca', '--cacert'));
    const body = ['-H', 'content-type: application/json', '-d', '{"clientId":"alice","payload":1}'];
    const args = ['-sS', ...curlOptions, ...body, `${url}/v1/push`];
    const { stdout, stderr } = spawnSync('curl', args, { encoding: 'utf8' });
    if (stdout === '') return stderr;
    const { verdict, error } = JSON.parse(stdout);
    return verdict ?? error.code;
  };
  expect(answerTo(...shop)).toBe('WRITTEN');
  const desk = ['--ca', authority.ca, '-H', `authorization: Bearer ${DESK}`];
  expect(answerTo(...desk)).toBe('WRITTEN');
  expect(answerTo('--ca', authority.ca)).toBe('UNAUTHENTICATED');
  expect(answerTo(...withCertificate(authority.issue('reader')))).toBe('PERMISSION_DENIED');
  const strangers = new Authority();
  const stranger = withCertificate(strangers.issue('shop'));
  expect(answerTo('--ca', authority.ca, ...stranger.slice(2))).toBe('UNAUTHENTICATED');
  expect(answerTo('--ca', strangers.ca)).toMatch(/self-signed certificate|unable to get/);
});

test('an edge whose certificate has another name is rejected', async () => {
  const metric = 'longline_control_links_rejected_total';
  const before = await running.metric('control', metric);
  const edge = await startRole('edge', {
    ...linkEnv(authority.issue('edge-of-another-cluster')),
    LONGLINE_EDGE_ID: 'edge-9',
    LONGLINE_REDIS_URL: running.redis.url,
    LONGLINE_CONTROL_ADDRESS: running.cluster.grpcAddress('control'),
    LONGLINE_SHARD_COUNT: '64',
    LONGLINE_EDGE_PORT: '0',
    LONGLINE_EDGE_ADMIN_PORT: '0',
  });
  await eventually(async () => (await running.metric('control', metric)) > before);
  expect((await running.edges()).map(({ id }) => id).sort()).toEqual(['edge-1', 'edge-2']);
  await edge.stop();
});

/** Redis that requires client certificates: a real server, alone and in cluster mode. */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect } from '@jest/globals';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { freeClusterPort } from '../../../cli/local/ports.js';
import { EnvironmentError } from '../../../common/process/lifecycle.js';
import { Metrics } from '../../../common/process/metrics.js';
import type { RedisTlsFiles } from '../../../common/redis/endpoint/redis-tls.js';
import { openRedis, type RedisLink } from '../../../common/redis/redis-link.js';
import { Authority, type CertificateFiles, OPENSSL } from '../../support/certificates.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import { RecordingSubscriber } from '../../support/recording-subscriber.js';

const test = testWith(OPENSSL);
const log = pino({ level: 'silent' });
const CHANNEL = 'll:{0}';

let authority: Authority;
const cleanups: (() => Promise<unknown> | unknown)[] = [];

beforeAll(() => {
  authority = new Authority();
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Returns the server, which has a port without TLS as well, and the URL of its port with TLS. */
async function start(...args: string[]): Promise<{ server: TestRedis; url: string }> {
  const { cert, key } = authority.issue('redis', ['DNS:localhost', 'IP:127.0.0.1']);
  const tlsPort = await freeClusterPort();
  const server = await startRedis([
    ...['--tls-port', `${tlsPort}`, '--tls-cert-file', cert, '--tls-key-file', key],
    ...['--tls-ca-cert-file', authority.ca, '--tls-auth-clients', 'yes'],
    ...args,
  ]);
  cleanups.push(() => server.stop());
  return { server, url: `rediss://localhost:${tlsPort}` };
}

async function open(url: string, tlsFiles: RedisTlsFiles): Promise<RedisLink> {
  const link = await openRedis({
    urls: [url],
    tlsFiles,
    name: 'test',
    log,
    metrics: new Metrics(),
  });
  cleanups.push(() => link.close());
  return link;
}

/** Every kind of connection works: pipelines, subscriber, commands and dedicated ones. */
async function expectToWork(link: RedisLink): Promise<void> {
  const handler = new RecordingSubscriber();
  link.subscriber.subscribe(CHANNEL, handler);
  await eventually(() => handler.confirmed.has(CHANNEL));
  const bytes = Buffer.from('x');
  await eventually(async () => {
    expect(await link.publish(CHANNEL, bytes)).toEqual({ type: 'published', receivers: 1 });
  });
  await eventually(() => handler.messages.has(CHANNEL));
  await eventually(async () => (await link.commands.exists('ll:settings')) === 0);
  const own = link.connectTo(link.subscriber.masters()[0]!);
  await eventually(async () => (await own.ping()) === 'PONG');
  own.disconnect();
  link.subscriber.unsubscribe(CHANNEL);
}

/** Copies a certificate to the files that a process watches. */
function install({ cert, key }: CertificateFiles): CertificateFiles {
  const own = { cert: join(authority.folder, 'own.pem'), key: join(authority.folder, 'own.key') };
  copyFileSync(cert, own.cert);
  copyFileSync(key, own.key);
  return own;
}

test('presents a client certificate, and a new one on new connections', async () => {
  const { server, url } = await start();
  const other = new Authority();
  const own = install(authority.issue('edge'));
  const link = await open(url, { ca: authority.ca, own });
  await expectToWork(link);

  // From now on, the server accepts only certificates of another authority.
  const admin = new Redis(server.port);
  cleanups.push(() => admin.disconnect());
  await admin.config('SET', 'tls-ca-cert-file', other.ca);
  await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await eventually(() => !link.isUp());
  install(other.issue('edge'));
  await eventually(() => link.isUp());
  await expectToWork(link);
});

test('says why it cannot connect, and does not start with files that it cannot use', async () => {
  const { url } = await start();
  // An error of `onWaiting` ends the retries, which have no limit.
  const onWaiting = (reason: string) => {
    throw new Error(reason);
  };
  const openWith = (tlsFiles: RedisTlsFiles) =>
    openRedis({ urls: [url], tlsFiles, name: 'test', log, metrics: new Metrics(), onWaiting });
  const own = authority.issue('edge');
  await expect(openWith({ ca: authority.ca, own: undefined })).rejects.toThrow(
    /certificate required|alert|closed|ECONNRESET|EPIPE/i,
  );
  await expect(openWith({ ca: new Authority().ca, own })).rejects.toThrow(
    /certificate|signature|issuer/i,
  );
  await expect(openWith({ ca: undefined, own })).rejects.toThrow(/certificate|issuer/i);
  const missing = open(url, { ca: '/none.pem', own: undefined });
  await expect(missing).rejects.toThrow(EnvironmentError);
  const mixed = open(url, { ca: authority.ca, own: { ...own, key: authority.issue('x').key } });
  await expect(mixed).rejects.toThrow(/cannot use .*key/);
});

test('verifies each node of a cluster by its own address', async () => {
  const { server, url } = await start(
    ...['--cluster-enabled', 'yes', '--tls-cluster', 'yes', '--tls-replication', 'yes'],
    ...['--cluster-announce-ip', '127.0.0.1'],
  );
  const admin = new Redis(server.port);
  cleanups.push(() => admin.disconnect());
  await admin.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
  await eventually(async () =>
    String(await admin.call('CLUSTER', 'INFO')).includes('cluster_state:ok'),
  );
  const link = await open(url, { ca: authority.ca, own: authority.issue('edge') });
  expect(link.isCluster).toBe(true);
  expect(link.subscriber.masters()).toEqual([url.replace('rediss://localhost', '127.0.0.1')]);
  await expectToWork(link);
});

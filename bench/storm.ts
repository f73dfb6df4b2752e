/**
 * A storm: 30,000 devices that were connected lose their connections and come back at once, and some
 * that are new come with them, while 5,000 durable pushes a second flow to others. All on this
 * machine; the devices of the storm run at a lower priority, because in truth they are elsewhere.
 *
 *   lost, twice         of the one push that was sent to each device while it was away
 *   seconds             until all were back
 *   perSecond           devices let in, over that time
 *   resumedP50Ms, newP50Ms     from the beginning to the answer: those who come back go first
 *   rejections            how often one was told to come again
 *   pushP99MsIdle, …Storm, ratio     of the others, from the call of Push to the bytes at the device
 *
 * `--devices`, `--pushes` (a second) and `--edges` make it smaller; `--json` prints one line.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { credentials } from '@grpc/grpc-js';
import { controlApi } from '../cli/control/api.js';
import { LocalCluster } from '../cli/local/cluster.js';
import { startRedis } from '../cli/local/redis.js';
import { shardOf } from '../common/cluster/shard.js';
import { PushManyRequest, PushServiceClient } from '../proto/gen/longline/v1/push.js';
import { Pushes } from './push/load.js';
import { startReceivers } from './push/receivers.js';
import type { Received } from './push/receivers-process.js';
import type { StormCounts, StormDevice, Stormed, ToStorm } from './storm/devices.js';
import { forkElsewhere } from './support/own-session.js';
import { median, percentile, rounded } from './support/statistics.js';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    devices: { type: 'string', default: '30000' },
    pushes: { type: 'string', default: '5000' },
    edges: { type: 'string', default: '3' },
  },
});
const PROCESSES = 2;
const OTHERS = 1_000;
/** For ten devices that come back, one that is new. */
const NEW_PART = 0.1;
const IDLE_MS = 10_000;
const DELIVERED_MS = 5_000;
/** It is calm again when the pushes of a second take at most so many times what they took before. */
const CALM = 1.5;
const CALM_DEADLINE_S = 60;
const READY_DEADLINE_MS = 60_000;
const CLIENTS_PER_CALL = 10_000;
const TTL_MS = 10 * 60 * 1_000;

const say = (line: string) => process.stderr.write(`${line}\n`);
const redis = await startRedis({ say });
const children: ChildProcess[] = [];
let cluster: LocalCluster | undefined;
try {
  cluster = await LocalCluster.start({
    redisUrl: redis.url,
    edges: Number(values.edges),
    ports: 'free',
    restart: false,
    env: { LONGLINE_LOG_LEVEL: 'error' },
    onOutput: (name, line) => say(`${name}: ${line}`),
  });
  await cluster.waitUntilReady(READY_DEADLINE_MS);
  const result = await measure(cluster);
  if (values.json) console.log(JSON.stringify(result));
  else console.log(result);
} finally {
  for (const child of children) child.kill();
  await cluster?.stop();
  await redis.stop();
}

async function measure(cluster: LocalCluster) {
  const count = Number(values.devices);
  const address = await addresses(cluster);
  const service = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  const storm = Array.from({ length: PROCESSES }, () => forkElsewhere('../storm/devices.js'));
  children.push(...storm);
  const askStorm = <Answer>(message: (part: number) => ToStorm) =>
    Promise.all(storm.map((child, part) => ask(child, message(part)))) as Promise<Answer[]>;

  say(`${count} devices connect`);
  const names = Array.from({ length: count }, (_, i) => `storm-${i}`);
  const partOf = <Item>(items: readonly Item[], part: number) =>
    items.filter((_, i) => i % PROCESSES === part);
  const all = names.map((clientId) => address(clientId));
  await askStorm((part) => ({
    type: 'connect',
    network: part + 1,
    devices: partOf(all, part),
  }));
  await pushToEach(service, names);
  await askStorm(() => ({ type: 'arrived', events: 1 }));

  const others = Array.from({ length: OTHERS }, (_, i) => `other-${i}`);
  const urls = others.map((clientId) => {
    const { port } = address(clientId);
    return `http://127.0.0.1:${port}/connect?clientId=${clientId}`;
  });
  const { take, stop } = await startReceivers(urls);
  const load = new Pushes(service, others, undefined).pace(Number(values.pushes));
  await sleep(IDLE_MS / 2);
  await take();
  await sleep(IDLE_MS);
  const idle = await take();

  say('all of them lose their connections');
  await askStorm(() => ({ type: 'lose' }));
  await pushToEach(service, names);
  // A push to each of them at once is a storm of its own: what it has left behind is not this one's.
  await take();
  for (let waited = 0; waited < CALM_DEADLINE_S; waited++) {
    await sleep(1_000);
    if ((await take()).p99Ms < CALM * idle.p99Ms) break;
  }
  say('and come back');
  const newcomers = names.slice(0, count * NEW_PART).map((name) => address(`new-${name}`));
  const stormed = await askStorm<Stormed>((part) => ({
    type: 'storm',
    newcomers: partOf(newcomers, part),
  }));
  const during = await take();
  await load.stop();
  // What is stored comes in the turn of each inbox.
  await sleep(DELIVERED_MS);
  const counts = await askStorm<StormCounts>(() => ({ type: 'count' }));
  stop();
  service.close();
  return summarize(stormed, counts, idle, during);
}

function summarize(
  stormed: readonly Stormed[],
  counts: readonly StormCounts[],
  idle: Received,
  during: Received,
) {
  const resumedMs = stormed.flatMap((one) => one.resumedMs);
  const newMs = stormed.flatMap((one) => one.newMs);
  const seconds = percentile([...resumedMs, ...newMs], 100) / 1_000;
  const sum = (of: keyof StormCounts) => counts.reduce((total, one) => total + one[of], 0);
  return {
    devices: resumedMs.length,
    lost: sum('without'),
    twice: sum('twice'),
    seconds: rounded(seconds, 1),
    perSecond: Math.round((resumedMs.length + newMs.length) / seconds),
    resumedP50Ms: Math.round(median(resumedMs)),
    resumedLastMs: Math.round(percentile(resumedMs, 100)),
    newP50Ms: Math.round(median(newMs)),
    rejections: stormed.reduce((total, one) => total + one.rejections, 0),
    pushesPerSecondIdle: idle.perSecond,
    pushesPerSecondStorm: during.perSecond,
    pushP99MsIdle: rounded(idle.p99Ms, 1),
    pushP99MsStorm: rounded(during.p99Ms, 1),
    ratio: rounded(during.p99Ms / idle.p99Ms, 2),
  };
}

/** Where each client belongs, for as long as the bench runs: nothing moves. */
async function addresses(cluster: LocalCluster): Promise<(clientId: string) => StormDevice> {
  await controlApi(cluster.controlUrl).tell('pause', {});
  const answer = await fetch(`${cluster.controlUrl}/v1/shards`);
  const { shards } = (await answer.json()) as { shards: { owner: string }[] };
  const ports = new Map(
    cluster.namesOf('edge').map((name) => [name, Number(new URL(cluster.edgeUrl(name)).port)]),
  );
  return (clientId) => {
    const { owner } = shards[shardOf(clientId, shards.length)]!;
    return { clientId, port: ports.get(owner)! };
  };
}

/** One durable push to each. */
async function pushToEach(service: PushServiceClient, names: readonly string[]): Promise<void> {
  for (let i = 0; i < names.length; i += CLIENTS_PER_CALL) {
    const request = PushManyRequest.fromPartial({
      clientIds: names.slice(i, i + CLIENTS_PER_CALL),
      payload: Buffer.from('hello'),
      ttlMs: TTL_MS,
    });
    await new Promise<void>((resolve, reject) => {
      service.pushMany(request, (error, { failed } = { counts: [], failures: [], failed: 0 }) => {
        if (error) reject(error);
        else if (failed > 0) reject(new Error(`${failed} pushes failed`));
        else resolve();
      });
    });
  }
}

async function ask(child: ChildProcess, message: object): Promise<unknown> {
  const answered = once(child, 'message');
  child.send(message);
  return (await answered)[0];
}

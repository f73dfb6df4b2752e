/**
 * Goal: when a Redis Cluster moves slots or promotes a replica, no role needs a restart, every
 * owner is subscribed to its shards again, and connected clients receive the pushes sent meanwhile.
 *
 * Method: three real masters with one replica each, a real cluster of three edges, and a connected
 * client of every fourth shard. Slots are moved and a master is killed during durable pushes, which
 * are retried with their idempotency key until they are accepted. The cluster has recovered when a
 * live push to an offline client gets OFFLINE on every shard, which only a subscribed owner can
 * reply; when the masters list exactly one subscriber of every shard; and when durable pushes to
 * all connected clients are WRITTEN.
 */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import keySlot from 'cluster-key-slot';
import { controlApi } from '../../../cli/control/api.js';
import { LocalCluster } from '../../../cli/local/cluster.js';
import { shardOf, shardTags } from '../../../common/cluster/shard.js';
import { parseClusterSlots, type SlotMap } from '../../../common/redis/slot-map.js';
import type { PushRequest, PushStreamResult } from '../../../proto/gen/longline/v1/push.js';
import { PushClient, pushRequest, verdictName } from '../../support/cluster/push-client.js';
import { startRedisCluster, type TestCluster } from '../../support/cluster/redis-cluster.js';
import { stopMoves } from '../../support/cluster/stop-moves.js';
import { type ReceivedEvent, SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';

const SHARDS = 4096;
const EDGES = 3;
/** One of this many shards has a connected client. */
const SHARDS_PER_DEVICE = 4;
const SLOTS_MOVED = 12;
const RECOVERY_MS_MAX = 30_000;
/** Timeout of a push that must get a verdict, also on a busy machine. */
const WAIT_MS = 5_000;
/** Timeout of a push during an outage, which may get no verdict. */
const OUTAGE_WAIT_MS = 1_000;
/** Longer than the test: nothing expires. */
const TTL_MS = 10 * 60_000;
const CONCURRENT_CONNECTS = 64;

const PREFIX = 'prod';

type Outcome = PushStreamResult['outcome'];

const channels = shardTags(SHARDS).map((tag) => `${PREFIX}:ll:{${tag}}`);
/** Connected before the first test. */
let devices: PushedDevice[] = [];
/** Clients that are never connected. */
const offlineClients = clientPerShard('offline');

let redis: TestCluster;
let cluster: LocalCluster;
let pushes: PushClient;
let pids: Map<string, number | undefined>;
/** A Redis node that is never killed. */
let witness: string;

beforeAll(async () => {
  devices = clientPerShard('device')
    .filter((_, shard) => shard % SHARDS_PER_DEVICE === 0)
    .map((clientId) => new PushedDevice(clientId));
  redis = await startRedisCluster();
  cluster = await LocalCluster.start({
    redisUrl: redis.urls.slice(0, 3).join(','),
    edges: EDGES,
    ports: 'free',
    // So that the test detects a role that exits.
    restart: false,
    env: { LONGLINE_REDIS_PREFIX: PREFIX },
  });
  await cluster.waitUntilReady(90_000);
  // A moving shard has two subscribers for a while, which is correct.
  await stopMoves(controlApi(cluster.controlUrl));
  pids = new Map(cluster.names.map((name) => [name, cluster.pid(name)]));
  witness = await redis.masterOfSlot(keySlot(channels[0]!));
  pushes = new PushClient(cluster.routerAddress);
  const waiting = [...devices];
  const connectSome = async () => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) await next.connect();
  };
  await Promise.all(Array.from({ length: CONCURRENT_CONNECTS }, connectSome));
});

afterAll(async () => {
  for (const device of devices) device.close();
  pushes?.close();
  await cluster?.stop();
  await redis?.stop();
});

afterEach(() => {
  expect(new Map(cluster.names.map((name) => [name, cluster.pid(name)]))).toEqual(pids);
  expectNone(devices.filter(({ isConnected }) => !isConnected));
});

test('every shard has one subscriber, on its master, and each master a third of the shards', async () => {
  await everyShardHasOneSubscriber();
  const { masters } = await fetchSlotMap();
  expect(masters).toHaveLength(3);
  for (const master of masters) {
    const { length } = await shardChannelsOf(master);
    expect(length).toBeGreaterThan(1_300);
    expect(length).toBeLessThan(1_430);
  }
});

test('a push to every shard is answered by its owner and reaches its client', async () => {
  await everyOwnerAnswers();
  await everyClientReceives();
  for (const { events } of devices) {
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
  }
});

test('subscriptions follow slots to another master and back', async () => {
  const { masters, masterOfSlot } = await fetchSlotMap();
  const [home, away] = masters as [string, string];
  const moving = devices
    .map(({ shard }) => keySlot(channels[shard]!))
    .filter((slot) => masterOfSlot(slot) === home)
    .slice(0, SLOTS_MOVED);
  expect(moving).toHaveLength(SLOTS_MOVED);
  for (const to of [away, home]) {
    const migrating = (async () => {
      for (const slot of moving) await redis.migrateSlot(slot, to);
    })();
    await pushUntil(migrating);
    await untilRecovered();
    const slotMap = await fetchSlotMap();
    for (const slot of moving) expect(slotMap.masterOfSlot(slot)).toBe(to);
  }
});

test('the replica of a killed master is promoted and no accepted push is lost', async () => {
  const killed = (await fetchSlotMap()).masters.find((master) => master !== witness)!;
  const replica = await redis.replicaOf(killed);
  const outage = (async () => {
    await redis.killNode(killed);
    await everyOwnerAnswers(OUTAGE_WAIT_MS);
  })();
  expect(await pushUntil(outage)).toBeGreaterThan(0);
  await untilRecovered();
  const { masters } = await fetchSlotMap();
  expect(masters).toContain(replica);
  expect(masters).not.toContain(killed);
});

async function untilRecovered(): Promise<void> {
  await everyOwnerAnswers(OUTAGE_WAIT_MS);
  await everyShardHasOneSubscriber();
  await everyClientReceives();
}

async function everyShardHasOneSubscriber(): Promise<void> {
  await eventually(async () => {
    const { masters, masterOfSlot } = await fetchSlotMap();
    const listed = new Map<string, string[]>(masters.map((master) => [master, []]));
    for (const channel of channels) listed.get(masterOfSlot(keySlot(channel))!)!.push(channel);
    for (const [master, expected] of listed) {
      expect((await shardChannelsOf(master)).sort()).toEqual(expected.sort());
      const counts = await redis.call(master, 'PUBSUB', 'SHARDNUMSUB', ...expected);
      expect(counts).toEqual(expected.flatMap((channel) => [channel, 1]));
    }
  }, RECOVERY_MS_MAX);
}

/** Only a subscribed owner can reply OFFLINE: resolves when all owners do so in one pass. */
async function everyOwnerAnswers(waitMs = WAIT_MS): Promise<void> {
  await eventually(async () => {
    const outcomes = await pushAll(
      offlineClients.map((clientId) => pushRequest(clientId, 'x', { waitMs, ttlMs: 0 })),
    );
    expect(tally(outcomes)).toEqual({ OFFLINE: SHARDS });
  }, RECOVERY_MS_MAX);
}

async function everyClientReceives(): Promise<void> {
  await eventually(async () => {
    const outcomes = await pushToDevices(devices, WAIT_MS);
    // STORED would mean that the client is still catching up.
    expect(tally(outcomes)).toEqual({ WRITTEN: devices.length });
  }, RECOVERY_MS_MAX);
  await everythingAcceptedHasArrived();
}

/**
 * Pushes to every client, one push at a time each, until `event` has ended and all are accepted.
 * Resolves with the number of tries that were not accepted.
 */
async function pushUntil(event: Promise<void>): Promise<number> {
  let isOver = false;
  const end = () => {
    isOver = true;
  };
  event.then(end, end);
  let rejected: PushedDevice[] = [];
  let failedTries = 0;
  const giveUpMs = performance.now() + 2 * RECOVERY_MS_MAX;
  for (let isLastRound = false; !isLastRound || rejected.length > 0; ) {
    expect(performance.now()).toBeLessThan(giveUpMs);
    isLastRound = isOver;
    const outcomes = await pushToDevices(isLastRound ? rejected : devices, OUTAGE_WAIT_MS);
    const reasons = Object.keys(tally(outcomes.filter((outcome) => !isAccepted(outcome))));
    for (const reason of reasons) {
      expect(['UNKNOWN', 'REDIS_UNAVAILABLE']).toContain(reason);
    }
    rejected = devices.filter((device) => device.isPending);
    failedTries += rejected.length;
  }
  await event;
  await everythingAcceptedHasArrived();
  return failedTries;
}

/** Sends a new push to each device, or retries the one that was not accepted. */
async function pushToDevices(
  addressed: readonly PushedDevice[],
  waitMs: number,
): Promise<Outcome[]> {
  const outcomes = await pushAll(addressed.map((device) => device.nextPush(waitMs)));
  for (const [i, device] of addressed.entries()) device.onOutcome(outcomes[i]);
  return outcomes;
}

async function everythingAcceptedHasArrived(): Promise<void> {
  await eventually(
    () => expectNone(devices.filter((device) => !device.hasAllAccepted())),
    RECOVERY_MS_MAX,
  );
  expectNone(devices.filter((device) => !device.isInOrder()));
}

function expectNone(found: readonly PushedDevice[]): void {
  expect(found.map(({ clientId }) => clientId)).toEqual([]);
}

/** Pushes all at once in one stream. Returns the outcomes in the order of the requests. */
async function pushAll(requests: readonly PushRequest[]): Promise<Outcome[]> {
  const items = requests.map((push, index) => ({ correlationId: `${index}`, push }));
  const outcomes = new Array<Outcome>(requests.length);
  for (const { correlationId, outcome } of await pushes.stream([items])) {
    outcomes[Number(correlationId)] = outcome;
  }
  return outcomes;
}

/** Name of the verdict or code of the error. */
function outcomeName(outcome: Outcome): string {
  if (outcome?.$case === 'push') return verdictName(outcome.value.verdict);
  return outcome?.value.code ?? 'no outcome';
}

function isAccepted(outcome: Outcome): boolean {
  return ['WRITTEN', 'STORED', 'DUPLICATE'].includes(outcomeName(outcome));
}

function tally(outcomes: Outcome[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of outcomes.map(outcomeName)) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

async function fetchSlotMap(): Promise<SlotMap> {
  return parseClusterSlots(await redis.call(witness, 'CLUSTER', 'SLOTS'), '127.0.0.1');
}

async function shardChannelsOf(master: string): Promise<string[]> {
  return (await redis.call(master, 'PUBSUB', 'SHARDCHANNELS', `${PREFIX}:ll:*`)) as string[];
}

/** For every shard, the first clientId of the form `<name>-<n>`. */
function clientPerShard(name: string): string[] {
  const clientIds: string[] = [];
  for (let n = 0, missing = SHARDS; missing > 0; n++) {
    const shard = shardOf(`${name}-${n}`, SHARDS);
    if (clientIds[shard] !== undefined) continue;
    clientIds[shard] = `${name}-${n}`;
    missing--;
  }
  return clientIds;
}

/** A client that connects once and records which of its pushes were accepted. */
class PushedDevice {
  readonly shard: number;
  /** The newest push has not been accepted yet. */
  isPending = false;
  readonly #accepted: { readonly id: string; readonly data: string }[] = [];
  #pushes = 0;
  #stream: SseClient | undefined;

  constructor(readonly clientId: string) {
    this.shard = shardOf(clientId, SHARDS);
  }

  async connect(): Promise<void> {
    this.#stream = await SseClient.open(`${cluster.routerUrl}/connect?clientId=${this.clientId}`);
  }

  get isConnected(): boolean {
    return this.#stream?.isOpen === true;
  }

  get events(): readonly ReceivedEvent[] {
    return this.#stream!.events;
  }

  close(): void {
    this.#stream?.close();
  }

  /** The payload is the number of the push. */
  nextPush(waitMs: number): PushRequest {
    if (!this.isPending) this.#pushes++;
    this.isPending = true;
    const idempotencyKey = `${this.clientId}:${this.#pushes}`;
    return pushRequest(this.clientId, `${this.#pushes}`, { waitMs, ttlMs: TTL_MS, idempotencyKey });
  }

  onOutcome(outcome: Outcome): void {
    if (outcome?.$case !== 'push' || !isAccepted(outcome)) return;
    this.isPending = false;
    this.#accepted.push({ id: outcome.value.messageId, data: `${this.#pushes}` });
  }

  /** Accepted without an id: an edge wrote the push, but Redis could no longer confirm it. */
  hasAllAccepted(): boolean {
    const got = new Set(this.events.flatMap(({ id, data }) => [`${id} ${data}`, ` ${data}`]));
    return this.#accepted.every(({ id, data }) => got.has(`${id} ${data}`));
  }

  /**
   * True if all events are pushes in order. A repeated event has its first id. A push that was
   * retried because its first try was lost with the master may have two ids, like two pushes.
   */
  isInOrder(): boolean {
    const dataById = new Map<string, string>();
    let last = { id: '0-0', data: '0' };
    for (const { event, id, data } of this.events) {
      const isRepeat = dataById.has(id);
      if (event !== 'message' || (isRepeat && dataById.get(id) !== data)) return false;
      if (isRepeat) continue;
      if (!isBefore(last.id, id) || Number(data) < Number(last.data)) return false;
      dataById.set(id, data);
      last = { id, data };
    }
    return true;
  }
}

/** Compares message ids `<ms>-<n>`. */
function isBefore(a: string, b: string): boolean {
  const [aMs, aN] = a.split('-').map(Number) as [number, number];
  const [bMs, bN] = b.split('-').map(Number) as [number, number];
  return aMs < bMs || (aMs === bMs && aN < bN);
}

import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { type Assignment, type Move, shardsOf } from '../../../common/cluster/assignment.js';
import { readAssignment, writeAssignment } from '../../../common/cluster/assignment-store.js';
import { Metrics } from '../../../common/process/metrics.js';
import { READY } from '../../../common/process/readiness.js';
import { RedisNames } from '../../../common/redis/redis-names.js';
import { ORIGIN, type Position } from '../../../common/wire/position.js';
import { Controller } from '../../../control/leadership/controller.js';
import type { EdgeReport } from '../../../control/membership/membership-driver.js';
import { connectFailingFast, startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { eventually } from '../../support/eventually.js';

const SHARDS = 64;
const LEASE_MS = 3_000;
const REPORT_MS = 200;
const KEY = 'll:assignment';
const names = new RedisNames('');

let server: TestRedis;
let redis: Redis;
let controllers: Controller[];

beforeEach(async () => {
  server = await startRedis();
  redis = await connectFailingFast(server.url);
  controllers = [];
});
afterEach(async () => {
  for (const controller of controllers) await controller.close();
  redis.disconnect();
  await server.stop();
});

/** A control that leads; several may do so at once. */
function startControl() {
  const metrics = new Metrics();
  const controller = new Controller({
    link: { commands: redis, names },
    controlId: 'control',
    shardCount: SHARDS,
    leaseMs: LEASE_MS,
    reconnectsPerSecondMax: 1_000,
    log: pino({ level: 'silent' }),
    metrics,
  });
  controllers.push(controller);
  controller.setLeader({ type: 'self' });
  const published: Position[] = [];
  /** The same with their contents: the stored one may be a later one already. */
  const assignments: Assignment[] = [];
  controller.watch((assignment) => {
    published.push(assignment.position);
    assignments.push(assignment);
  });
  return { controller, published, assignments, metrics };
}

/** The report of an edge without clients, which completes its part of every move at once. */
function reportOf(controller: Controller, edgeId: string): EdgeReport {
  const { moves = [], position = ORIGIN } = controller.current ?? {};
  const shardsIn = (phase: Move['phase'], end: 'from' | 'to') =>
    moves.filter((move) => move.phase === phase && move[end] === edgeId).map(({ shard }) => shard);
  return {
    counts: undefined,
    loads: { under: position, connections: 0, shards: [] },
    moves: {
      edgeId,
      under: position,
      acquired: shardsIn('acquiring', 'to'),
      released: shardsIn('handing-over', 'from'),
    },
    isShuttingDown: false,
  };
}

/** Opens the session of an edge, which reports until it is disconnected. */
function join(
  controller: Controller,
  id: string,
  have = ORIGIN,
  incarnation = 'i1',
): { disconnect(): void } {
  const edge = { id, incarnation, advertisedUrl: `http://${id}:7000`, capacity: 1_000, zone: '' };
  const session = controller.openSession(edge, have, () => {});
  if ('code' in session) throw new Error(session.message);
  const report = () => session.report(reportOf(controller, id));
  report();
  const reporting = setInterval(report, REPORT_MS).unref();
  return {
    disconnect: () => {
      clearInterval(reporting);
      session.disconnected();
    },
  };
}

async function read(): Promise<{ assignment: Assignment; digest: string }> {
  const result = await readAssignment({ commands: redis, names }, SHARDS);
  if (result.type !== 'assignment') throw new Error(result.type);
  return result;
}

const stored = async () => (await read()).assignment;

const sharesIn = (assignment: Assignment) =>
  Object.fromEntries(assignment.edges.map(({ id }) => [id, shardsOf(assignment, id).length]));

test('writes one first assignment for edges that start together', async () => {
  const { controller, published } = startControl();
  join(controller, 'edge-1');
  join(controller, 'edge-2');
  await eventually(() => published.length === 1);
  expect(published).toEqual([{ incarnation: 0, epoch: 1 }]);
  expect(await stored()).toEqual(controller.current);
  expect(sharesIn(await stored())).toEqual({ 'edge-1': 32, 'edge-2': 32 });
});

test('gives a joining edge its share, and the shards of a dead edge to the others', async () => {
  const { controller } = startControl();
  join(controller, 'edge-1');
  const second = join(controller, 'edge-2');
  await eventually(async () => expect((await stored()).edges).toHaveLength(2));
  const before = await stored();
  join(controller, 'edge-3');
  await eventually(async () => {
    const now = await stored();
    expect(now.moves).toEqual([]);
    expect(Object.values(sharesIn(now)).sort()).toEqual([21, 21, 22]);
  });
  const after = await stored();
  const kept = shardsOf(after, 'edge-1').every((shard) =>
    shardsOf(before, 'edge-1').includes(shard),
  );
  expect(kept).toBe(true);
  second.disconnect();
  await eventually(async () => expect((await stored()).edges).toHaveLength(2));
  expect(sharesIn(await stored())).toEqual({ 'edge-1': 32, 'edge-3': 32 });
});

test('a new process of an edge keeps its shards and is published', async () => {
  const { controller } = startControl();
  join(controller, 'edge-1');
  const old = join(controller, 'edge-2');
  await eventually(stored);
  const before = shardsOf(await stored(), 'edge-2');
  old.disconnect();
  join(controller, 'edge-2', ORIGIN, 'i2');
  await eventually(async () => expect((await stored()).edges[1]!.incarnation).toBe('i2'));
  expect(shardsOf(await stored(), 'edge-2')).toEqual(before);
});

test('a control that restarts moves nothing', async () => {
  const first = startControl();
  join(first.controller, 'edge-1');
  join(first.controller, 'edge-2');
  const before = await eventually(stored);
  await first.controller.close();
  const { controller, assignments } = startControl();
  await eventually(() => assignments.length === 1);
  join(controller, 'edge-1');
  join(controller, 'edge-2');
  join(controller, 'edge-3');
  await eventually(() => assignments.length > 1);
  // The only change is that of the joining edge, whose moves follow.
  const after = assignments[1]!;
  expect(after.position).toEqual({ incarnation: 0, epoch: 2 });
  for (const id of ['edge-1', 'edge-2']) {
    expect(shardsOf(before, id)).toEqual(expect.arrayContaining(shardsOf(after, id)));
  }
});

test('follows an assignment that another control has written', async () => {
  const { controller, published } = startControl();
  join(controller, 'edge-1');
  const { assignment: mine, digest } = await eventually(read);
  const theirs = { ...mine, position: { incarnation: 0, epoch: 2 } };
  await writeAssignment({ commands: redis, names }, theirs, digest);
  await eventually(() => published.length === 2);
  expect(controller.current).toEqual(theirs);
});

test('plans again when another control wrote first', async () => {
  const { controller, assignments, metrics } = startControl();
  join(controller, 'edge-1');
  await eventually(read);
  // The other control writes between our read and our write.
  let theirs = 0;
  const evaluate = redis.eval;
  redis.eval = (async (...args: Parameters<typeof evaluate>) => {
    if (args[2] !== names.assignment) return evaluate.apply(redis, args);
    redis.eval = evaluate;
    const { assignment, digest } = await read();
    theirs = assignment.position.epoch + 1;
    const next = { ...assignment, position: { incarnation: 0, epoch: theirs } };
    await writeAssignment({ commands: redis, names }, next, digest);
    return redis.eval(...args);
  }) as typeof evaluate;
  join(controller, 'edge-2');
  const joined = await eventually(() => {
    const found = assignments.find(({ edges }) => edges.length === 2);
    expect(found).toBeDefined();
    return found!;
  });
  expect(joined.position).toEqual({ incarnation: 0, epoch: theirs + 1 });
  expect(await metrics.registry.metrics()).toContain('longline_control_write_conflicts_total 1');
});

test('two controls that plan at the same time agree in the end', async () => {
  const controls = [startControl(), startControl()];
  for (const { controller } of controls) {
    join(controller, 'edge-1');
    join(controller, 'edge-2');
  }
  await eventually(() => controls.every(({ published }) => published.length > 0));
  await eventually(async () => {
    for (const { controller } of controls) expect(controller.current).toEqual(await stored());
  });
  expect((await stored()).position).toEqual({ incarnation: 0, epoch: 1 });
});

test('continues at a higher incarnation when Redis has lost writes', async () => {
  const { controller, published } = startControl();
  join(controller, 'edge-1');
  await eventually(() => published.length === 1);
  await redis.flushall();
  await eventually(() => published.length === 2);
  expect(published[1]).toEqual({ incarnation: 1, epoch: 2 });
  expect((await stored()).owners).toEqual(controller.current!.owners);
});

test('continues after the newest assignment that an edge has', async () => {
  const { controller, published } = startControl();
  join(controller, 'edge-1', { incarnation: 3, epoch: 40 });
  await eventually(() => published.length === 1);
  expect(await stored()).toMatchObject({ position: { incarnation: 4, epoch: 41 } });
});

test('survives an unavailable Redis, and then writes what became due', async () => {
  const { controller, published } = startControl();
  join(controller, 'edge-1');
  await eventually(() => published.length === 1);
  await server.kill('SIGKILL');
  await eventually(() => controller.readiness().degraded.length === 1);
  // The last assignment can still be read here.
  expect(controller.readiness().notReady).toEqual([]);
  join(controller, 'edge-2');
  expect(controller.current!.edges).toHaveLength(1);
  await server.restart();
  await eventually(async () => expect((await stored()).edges).toHaveLength(2));
  expect(controller.readiness()).toEqual(READY);
  // Redis has restarted empty. The moves to the joining edge follow.
  const first = published.find(({ incarnation }) => incarnation === 1);
  expect(first).toEqual({ incarnation: 1, epoch: 2 });
});

test('does not overwrite garbage, reports it, and continues when it is deleted', async () => {
  const { controller, published, metrics } = startControl();
  join(controller, 'edge-1');
  const good = await eventually(stored);
  await redis.set(KEY, 'garbage');
  await eventually(() => controller.readiness().notReady.length === 1);
  join(controller, 'edge-2');
  expect(controller.current).toEqual(good);
  expect(await metrics.registry.metrics()).toMatch(
    /longline_control_invalid_assignments_total [1-9]/,
  );
  const later = published.length;
  await eventually(async () =>
    expect(await metrics.registry.metrics()).toMatch(/invalid_assignments_total [3-9]/),
  );
  expect(published).toHaveLength(later);
  expect(await redis.get(KEY)).toBe('garbage');
  await redis.del(KEY);
  await eventually(async () => expect((await stored()).edges).toHaveLength(2));
  expect(controller.readiness()).toEqual(READY);
});

test('publishes nothing to a watcher that has stopped', async () => {
  const { controller, published } = startControl();
  const seen: Assignment[] = [];
  const stop = controller.watch((assignment) => seen.push(assignment));
  stop();
  join(controller, 'edge-1');
  await eventually(() => published.length === 1);
  expect(seen).toEqual([]);
});

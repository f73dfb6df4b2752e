/** Output and requests of the compiled command, against a control with fake operations. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { shardOf } from '../../../common/cluster/shard.js';
import { rejection } from '../../../common/process/errors.js';
import { packageRoot } from '../../../common/process/package-root.js';
import type { DrainProgress } from '../../../control/pace/drain-progress.js';
import {
  guarded,
  idle,
  OPERATOR,
  someInbox,
  somePlan,
  VIEWER,
} from '../../control/operator/fake-operations.js';
import {
  type OperatedControl,
  startOperatedControl,
} from '../../control/operator/operated-control.js';
import { eventually } from '../../support/eventually.js';

let control: OperatedControl;
let children: ChildProcess[];

beforeEach(async () => {
  control = await startOperatedControl();
  children = [];
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await control.stop();
});

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}, url = control.url) {
  const main = join(packageRoot, 'dist/cli/main.js');
  const child = spawn(process.execPath, [main, ...args, '--control', url], {
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  });
  children.push(child);
  const seen = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk) => (seen.stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk) => (seen.stderr += chunk));
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { child, seen, exited };
}

async function longline(args: readonly string[], env: NodeJS.ProcessEnv = {}, url = control.url) {
  const { seen, exited } = start(args, env, url);
  return { status: await exited, ...seen };
}

const by = (reason: string) => ({ actor: 'local', reason });

test('rebalance --dry-run shows the plan and moves nothing', async () => {
  const { status, stdout } = await longline(['rebalance', '--dry-run']);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^edge-1 +edge-2 +3 +1200 +0 1 2$/m);
  expect(stdout).toContain('3 shards with 1,200 clients move: 1,000 to balance, 200 to new edges');
  expect(stdout).toContain('100 reconnects/s expected, ETA 12s');
  expect(stdout).toContain('max/mean 1.500 → 1.040');
  expect(stdout).toContain('1 shard 3\n');
  expect(control.operations.calls).toEqual([]);
});

test('rebalance carries out the plan that it has shown', async () => {
  const { status, stdout } = await longline(['rebalance', '--reason', 'hot']);
  expect([status, stdout]).toEqual([0, expect.stringContaining('Started')]);
  expect(control.operations.calls).toEqual([['rebalance', somePlan.on, by('hot')]]);
  const json = await longline(['rebalance', '--json']);
  const state = { paused: false, frozenUntilMs: null };
  expect(JSON.parse(json.stdout)).toEqual({ applied: true, plan: somePlan, ...state });
  control.operations.info = { ...idle, isPaused: true };
  const held = (await longline(['rebalance'])).stdout;
  expect(held).toMatch(/^Accepted, but no move starts now; .*\nPaused: no move starts/m);
});

test('rebalance with nothing to move sends no request', async () => {
  const none = {
    shards: 0,
    clients: 0,
    transfers: [],
    reconnectsPerSecond: 0,
    secondsRemaining: 0,
  };
  control.operations.planned = { ...somePlan, ...none };
  const { status, stdout } = await longline(['rebalance']);
  expect([status, stdout]).toEqual([0, expect.stringContaining('Nothing to move')]);
  expect(control.operations.calls).toEqual([]);
});

test('a rejection is printed in one line, with status 2', async () => {
  control.operations.rejected = rejection('PLAN_OUTDATED', 'it is now 1-8');
  expect(await longline(['rebalance'])).toMatchObject({
    status: 2,
    stderr: 'longline: PLAN_OUTDATED: it is now 1-8\n',
  });
  expect(await longline(['undrain', 'edge-1'])).toMatchObject({ status: 2, stdout: '' });
});

test.each(['pause', 'resume', 'abort', 'confirm-lost-edges'])('%s', async (order) => {
  expect(await longline([order, '--reason', 'so'])).toMatchObject({ status: 0, stderr: '' });
  expect(control.operations.calls).toEqual([[order, by('so')]]);
});

test('a command says what it changed, and the state that it leaves', async () => {
  control.operations.info = {
    ...idle,
    pending: 3,
    drains: [{ ...drainOf(5), delayedBy: 'paused' }],
  };
  const aborted = (await longline(['abort'])).stdout;
  expect(aborted).toMatch(/^Aborted: .*balancing ends$/m);
  expect(aborted).toMatch(/^Paused: .*until longline resume/m);
  expect(aborted).toMatch(/^Draining edge-2: 5 clients .*; moves are paused, longline resume/m);
  expect((await longline(['pause'])).stdout).toMatch(/^Moves were paused already\nPaused: /);
  const cordoned = await longline(['cordon', 'edge-1']);
  expect(cordoned.stdout).toMatch(/gets no more.*\nPaused: /);
  expect((await longline(['resume'])).stdout).toMatch(/^Resumed: moves start again\nDraining/);
  expect((await longline(['resume'])).stdout).toMatch(/^Moves were not paused/);
  expect((await longline(['confirm-lost-edges'])).stdout).toMatch(/^There was nothing to confirm/);
  control.operations.info = { ...idle, frozenRemainingMs: 60_000 };
  expect((await longline(['pause'])).stdout).toMatch(/^Frozen: /m);
  const confirmed = JSON.parse((await longline(['confirm-lost-edges', '--json'])).stdout);
  expect(confirmed).toMatchObject({ changed: true, paused: true, frozenUntilMs: null });
  const again = JSON.parse((await longline(['confirm-lost-edges', '--json'])).stdout);
  expect(again).toMatchObject({ changed: false });
});

test('cordon and undrain', async () => {
  expect((await longline(['cordon', 'edge-1', '--force'])).stdout).toMatch(/gets no more/);
  const { stdout } = await longline(['undrain', 'edge-1', '--json']);
  expect(JSON.parse(stdout)).toEqual({
    edgeId: 'edge-1',
    intent: 'none',
    paused: false,
    frozenUntilMs: null,
    delayedBy: null,
  });
  const options = { perSecondMax: undefined, deadlineMs: undefined };
  expect(control.operations.calls).toEqual([
    ['setIntent', 'edge-1', 'cordoned', { ...options, isForced: true }, by('')],
    ['setIntent', 'edge-1', 'none', { ...options, isForced: false }, by('')],
  ]);
});

const drainOf = (clientsRemaining: number, isFinished = false): DrainProgress => ({
  edgeId: 'edge-2',
  shardsPending: 0,
  shardsMoving: isFinished ? 0 : 2,
  clientsRemaining,
  secondsRemaining: clientsRemaining / 100,
  waitingFor: undefined,
  isFinished,
});

test('drain waits until the edge is empty', async () => {
  control.operations.info = { ...idle, drains: [drainOf(9_998)] };
  const args = ['drain', 'edge-2', '--rate', '500', '--deadline', '5m', '--reason', 'old'];
  const { seen, exited } = start(args);
  await eventually(() => seen.stdout.includes('ETA'));
  expect(seen.stdout).toMatch(
    /^edge-2 \[-{30}\] 0 % {2}9,998 clients, 2 shards left {2}ETA 1m 40s$/m,
  );
  const options = { perSecondMax: 500, deadlineMs: 300_000, isForced: false };
  expect(control.operations.calls).toEqual([
    ['setIntent', 'edge-2', 'draining', options, by('old')],
  ]);
  control.operations.info = { ...idle, drains: [drainOf(0, true)] };
  expect(await exited).toBe(0);
  expect(seen.stdout).toMatch(/edge-2 is empty: its process may be stopped\n$/);
});

test('an existing drain is followed, and a cancelled one exits with 1', async () => {
  control.operations.intents.set('edge-2', 'draining');
  control.operations.info = { ...idle, drains: [drainOf(5)] };
  const { seen, exited } = start(['drain', 'edge-2']);
  await eventually(() => seen.stdout.includes('ETA'));
  await eventually(() => expect(seen.stderr).toMatch(/already draining/));
  control.operations.info = idle;
  expect(await exited).toBe(1);
  expect(seen.stdout).toMatch(/was cancelled\n$/);
});

test('drain --no-wait, and --json', async () => {
  expect((await longline(['drain', 'edge-2', '--no-wait'])).stdout).toMatch(/^edge-2 is draining;/);
  control.operations.info = { ...idle, drains: [drainOf(0, true)] };
  const { status, stdout } = await longline(['drain', 'edge-2', '--json']);
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toEqual({ edgeId: 'edge-2', outcome: 'finished' });
});

test('a drain that waits says for what', async () => {
  const halted = {
    ...drainOf(9),
    secondsRemaining: undefined,
    delayedBy: 'no-other-edge' as const,
  };
  control.operations.info = { ...idle, isPaused: true, drains: [halted] };
  const started = await longline(['drain', 'edge-2', '--no-wait']);
  expect(started.stdout).toMatch(/^edge-2 is draining; .*\nPaused: .*\nDraining edge-2: 9 clients/);
  const json = await longline(['drain', 'edge-2', '--no-wait', '--json']);
  expect(JSON.parse(json.stdout)).toEqual({
    edgeId: 'edge-2',
    outcome: 'draining',
    paused: true,
    frozenUntilMs: null,
    delayedBy: 'no-other-edge',
  });
  const text = start(['drain', 'edge-2']);
  const lines = start(['drain', 'edge-2', '--json']);
  await eventually(() => text.seen.stdout.includes('ETA'));
  expect(text.seen.stdout).toMatch(/ETA unknown {2}no other edge can get its shards/);
  await eventually(() => lines.seen.stderr.includes('\n'));
  expect(JSON.parse(lines.seen.stderr)).toMatchObject({ delayedBy: 'no-other-edge' });
});

test('a redirect is not followed with a token', async () => {
  let received = 0;
  const elsewhere = createServer(() => received++).listen(0, '127.0.0.1');
  await once(elsewhere, 'listening');
  const location = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}`;
  const redirector = createServer((request, response) => {
    response.writeHead(307, { location: location + request.url }).end();
  }).listen(0, '127.0.0.1');
  await once(redirector, 'listening');
  const url = `http://127.0.0.1:${(redirector.address() as AddressInfo).port}`;
  for (const args of [['pause'], ['events', '--follow'], ['status']]) {
    const { status, stderr } = await longline([...args, '--token', OPERATOR], {}, url);
    expect(status).toBe(2);
    expect(stderr).toContain(`redirects /v1/`);
    expect(stderr).toContain(`use --control ${location}`);
  }
  expect(received).toBe(0);
  elsewhere.close();
  redirector.close();
});

test('a drain survives a restart of control', async () => {
  control.operations.info = { ...idle, drains: [drainOf(5)] };
  const { seen, exited } = start(['drain', 'edge-2']);
  await eventually(() => seen.stdout.includes('ETA'));
  const port = Number(new URL(control.url).port);
  await control.stop();
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  control = await startOperatedControl(undefined, port);
  control.operations.info = { ...idle, drains: [drainOf(0, true)] };
  expect(await exited).toBe(0);
});

test('drain fails when control rejects it, and on an invalid duration', async () => {
  const unknown = await longline(['drain', 'unknown']);
  expect(unknown).toMatchObject({ status: 2, stderr: expect.stringContaining('NOT_FOUND') });
  for (const deadline of ['5', '5d', '-5m', '1.5h']) {
    expect((await longline(['drain', 'edge-2', '--deadline', deadline])).status).toBe(2);
  }
});

test('events, all and after one', async () => {
  control.operations.log({
    type: 'operator',
    action: 'drain',
    edgeId: 'edge-2',
    ...by('it is old'),
  });
  control.operations.log({ type: 'move-started', shard: 17, from: 'edge-2', to: 'edge-1' });
  control.operations.log({ type: 'shards-placed', to: 'edge-1', shards: 2 });
  const { status, stdout } = await longline(['events']);
  expect(status).toBe(0);
  expect(stdout.split('\n').map((line) => line.replace(/ {2}20.*Z {2}/, ' '))).toEqual([
    '1 1.7  operator  drain  edge-2  by local  reason: it is old',
    '2 1.7  move-started  shard 17  edge-2 → edge-1',
    '3 1.7  shards-placed  to edge-1  2 shards',
    '',
  ]);
  const json = await longline(['events', '--after', '2', '--json']);
  expect(JSON.parse(json.stdout)).toMatchObject({ id: 3, type: 'shards-placed' });
});

test('events --follow continues after a restart of control', async () => {
  control.operations.log({ type: 'edge-joined', edgeId: 'edge-1' });
  const { seen } = start(['events', '--follow']);
  await eventually(() => seen.stdout.includes('edge-joined'));
  control.operations.log({ type: 'edge-restarted', edgeId: 'edge-1' });
  await eventually(() => seen.stdout.includes('edge-restarted'));
  const port = Number(new URL(control.url).port);
  await control.stop();
  control = await startOperatedControl(undefined, port);
  control.operations.lastId = 2;
  control.operations.log({ type: 'leader-changed', controlId: 'control-2' });
  await eventually(() => seen.stdout.includes('control-2'));
  control.cut();
  control.operations.log({ type: 'edge-left', edgeId: 'edge-1', shards: 2 });
  await eventually(() => seen.stdout.includes('edge-left'));
  expect(seen.stdout.split('\n')).toHaveLength(5);
  expect(seen.stderr.match(/retrying/g)).toHaveLength(2);
});

test('status shows intents, moves, pause and freeze', async () => {
  const phase = 'handing-over' as const;
  control.operations.info = {
    ...idle,
    inFlight: [{ shard: 7, from: 'edge-1', to: 'edge-2', phase, clientsRemaining: 31 }],
    pending: 4,
    isPaused: true,
    frozenRemainingMs: 60_000,
    perSecond: 25,
    paceReason: 'pressure',
    secondsRemaining: 75,
    drains: [drainOf(31)],
  };
  const { status, stdout } = await longline(['status']);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^edge-1 +alive +none /m);
  expect(stdout).toMatch(/ · leader control-1( ·|$)/m);
  expect(stdout).toMatch(/^Paused/m);
  expect(stdout).toMatch(/^Frozen.* in 1m 0s/m);
  expect(stdout).toMatch(/^Draining edge-2: 31 clients and 2 shards left$/m);
  expect(stdout).toMatch(/^Moving 1 shard, 4 pending · 25.0 clients\/s \(pressure\), ETA 1m 15s$/m);
  expect(stdout).toMatch(/^ +7 +edge-1 +edge-2 +handing-over +31$/m);
  const json = JSON.parse((await longline(['status', '--json'])).stdout);
  expect(json).toMatchObject({ cluster: { leader: 'control-1' }, moves: { pending: 4 } });
});

test('status --watch repeats, with the last known state while control is down', async () => {
  const { seen, child } = start(['status', '--watch']);
  await eventually(() => seen.stdout.split('edges alive').length > 2);
  const port = Number(new URL(control.url).port);
  await control.stop();
  await eventually(() => seen.stdout.includes('Not current: nothing listens'));
  control = await startOperatedControl(undefined, port);
  expect(child.exitCode).toBeNull();
});

test('explain shows the move of a shard, and why a client is a guest', async () => {
  const { snapshot } = control.state;
  const shard = shardOf('alice', 4);
  const [from, to] = shard < 2 ? ['edge-1', 'edge-2'] : ['edge-2', 'edge-1'];
  const guest = {
    clientId: 'alice',
    connectedAtMs: 5_000,
    connectedForMs: 3_600_000,
    protocol: 'sse',
    remoteAddress: '192.0.2.7:1',
    labels: 'app=ios,version=5.2',
    guest: true,
  };
  control.state.connections = [{ ...guest, edgeId: to! }];
  const moves = [{ shard, from: from!, to: to!, phase: 'acquiring' as const }];
  control.state.snapshot = { ...snapshot, assignment: { ...snapshot.assignment!, moves } };
  const startedMs = Date.now();
  const { stdout } = await longline(['explain', 'alice']);
  expect(stdout).toMatch(/^ +with labels app=ios,version=5\.2$/m);
  expect(stdout).toMatch(new RegExp(`^moving +from ${from} to ${to}: acquiring`, 'm'));
  expect(stdout).toContain(
    `a guest because its shard is moving to ${to}, which does not own it yet`,
  );
  control.state.snapshot = snapshot;
  // The edge's clock is far behind: only durations count.
  const [, connectedAt] = / since (\S+Z)/.exec(stdout)!;
  const connectedAtMs = new Date(connectedAt!).getTime() + 3_600_000;
  // To the second.
  expect(connectedAtMs).toBeGreaterThan(startedMs - 1_000);
  expect(connectedAtMs).toBeLessThan(Date.now() + 1_000);
  control.state.ownedForMs = 3_599_000;
  expect((await longline(['explain', 'alice'])).stdout).toContain(
    `a guest because it connected before its shard moved to ${from}`,
  );
  control.state.ownedForMs = 3_601_000;
  expect((await longline(['explain', 'alice'])).stdout).toContain('it knows no other address');
});

test('explain shows the inbox', async () => {
  const { stdout } = await longline(['explain', 'alice']);
  expect(stdout).toMatch(/^inbox +2 pushes, 300 bytes, until the last expires 1m 30s$/m);
  expect(stdout).toMatch(/^ +oldest 1699999999000-0, stored 2s ago, expires in 1m 0s$/m);
  expect(stdout).toMatch(/^ +newest id 1700000000000-1$/m);
  expect(stdout).toMatch(/^ +confirmed up to 1699999990000-0$/m);
  control.state.inbox = {
    ...someInbox,
    oldest: { ...someInbox.oldest!, ttlMs: -3 },
    goneId: '1-1',
  };
  const late = (await longline(['explain', 'alice'])).stdout;
  expect(late).toMatch(/stored 2s ago, expired$/m);
  expect(late).toMatch(/left unconfirmed up to 1-1/);
  const none = { newestId: '', confirmedId: '', oldest: undefined, ttlMs: undefined };
  control.state.inbox = { ...someInbox, ...none, count: 0, bytes: 0 };
  expect((await longline(['explain', 'alice'])).stdout).toMatch(
    /^inbox +empty\n +nothing confirmed$/m,
  );
  control.state.inbox = undefined;
  expect((await longline(['explain', 'alice'])).stdout).toMatch(/^inbox +unknown, Redis/m);
});

test('tokens come from --token or the environment', async () => {
  await control.stop();
  control = await startOperatedControl(guarded);
  const rejected = { status: 2, stdout: '', stderr: expect.stringContaining('UNAUTHENTICATED') };
  expect(await longline(['status'])).toMatchObject(rejected);
  expect(await longline(['events', '--follow'])).toMatchObject(rejected);
  expect((await longline(['status'], { LONGLINE_TOKEN: VIEWER })).status).toBe(0);
  const denied = await longline(['pause'], { LONGLINE_TOKEN: VIEWER });
  expect(denied).toMatchObject({ status: 2, stderr: expect.stringContaining('PERMISSION_DENIED') });
  const given = await longline(['pause', '--token', OPERATOR], { LONGLINE_TOKEN: VIEWER });
  expect(given.status).toBe(0);
  expect(control.operations.calls).toEqual([['pause', { actor: 'ada', reason: '' }]]);
});

test.each([
  [['revoke']],
  [['revoke', 'alice', '--all']],
  [['revoke', 'alice', '--before', 'yesterday']],
  [['unrevoke']],
  [['disconnect-clients', '--all']],
  [['disconnect-clients', '--user', 'alice', '--rate', '0']],
  [['clients', '--older-than', 'long']],
  [['slow', '--by', 'age']],
])('%j is rejected before control is asked', async (args) => {
  const { status, stderr } = await longline(args);
  expect([status, stderr]).toEqual([2, expect.stringContaining('error: ')]);
  expect(control.operations.calls).toEqual([]);
});

test('clients and slow name the edges that do not answer', async () => {
  const clients = await longline(['clients']);
  expect(clients.stdout).toBe('no client matches\n2 edges did not answer: edge-1, edge-2\n');
  const slow = await longline(['slow', '--by', 'drops']);
  expect(slow.stdout).toMatch(/^no push was dropped .*\n2 edges did not answer: edge-1, edge-2\n$/);
});

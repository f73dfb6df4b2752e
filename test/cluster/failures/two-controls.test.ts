/**
 * Goal: commands, the API and the event log work at any of two controls, and outlive the leader.
 * Method: two controls as processes on a real Redis, the compiled command line and curl's way of
 * asking; the leader is killed and restarted.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freePort } from '../../../cli/local/ports.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { type Role, startRole } from '../../support/cluster/role.js';
import { eventually } from '../../support/eventually.js';

const TOKEN = 'operator-token-0123';

let redis: TestRedis;
const controls = new Map<string, Role>();
const children: ChildProcess[] = [];

beforeAll(async () => {
  redis = await startRedis();
  for (const id of ['control-1', 'control-2']) await startControl(id);
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  for (const control of controls.values()) await control.stop();
  await redis?.stop();
});

async function startControl(id: string): Promise<void> {
  const port = await freePort();
  const control = await startRole('control', {
    LONGLINE_CONTROL_ID: id,
    LONGLINE_REDIS_URL: redis.url,
    LONGLINE_SHARD_COUNT: '64',
    LONGLINE_CONTROL_HTTP_PORT: `${port}`,
    LONGLINE_CONTROL_ADVERTISED_URL: `http://127.0.0.1:${port}`,
    LONGLINE_CONTROL_GRPC_PORT: '0',
    LONGLINE_CONTROL_OPERATOR_TOKENS: `ada:${TOKEN}`,
    LONGLINE_LOG_LEVEL: 'error',
  });
  controls.set(id, control);
}

const urlOf = (id: string) => `http://127.0.0.1:${controls.get(id)!.ports.http}`;
const other = (id: string) => (id === 'control-1' ? 'control-2' : 'control-1');

// biome-ignore lint/suspicious/noExplicitAny: tests read any field.
async function get(id: string, path: string): Promise<any> {
  const headers = { authorization: `Bearer ${TOKEN}` };
  return (await fetch(urlOf(id) + path, { headers })).json();
}

async function leaderId(): Promise<string> {
  return eventually(async () => {
    const leaders = await Promise.all(
      [...controls.keys()].map(async (id) => (await get(id, '/v1/cluster')).leader),
    );
    expect(leaders[0]).toBeTruthy();
    expect(new Set(leaders).size).toBe(1);
    return leaders[0] as string;
  });
}

function start(args: readonly string[]) {
  const child = spawn(process.execPath, [join(packageRoot, 'dist/cli/main.js'), ...args], {
    env: { ...process.env, NODE_OPTIONS: '', LONGLINE_TOKEN: TOKEN },
  });
  children.push(child);
  const seen = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk) => (seen.stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk) => (seen.stderr += chunk));
  return { seen, exited: once(child, 'close').then(([code]) => code as number) };
}

async function longline(args: readonly string[], id: string) {
  const { seen, exited } = start([...args, '--control', urlOf(id)]);
  return { status: await exited, ...seen };
}

test('commands at the control that does not lead are carried out by the leader', async () => {
  const leader = await leaderId();
  const follower = other(leader);
  const paused = await longline(['pause', '--reason', 'so'], follower);
  expect(paused).toMatchObject({
    status: 0,
    stderr: '',
    stdout: expect.stringMatching(/^Paused/m),
  });
  expect((await get(leader, '/v1/moves')).paused).toBe(true);
  expect((await longline(['resume'], follower)).status).toBe(0);
  expect((await get(leader, '/v1/moves')).paused).toBe(false);
  const rejected = await longline(['drain', 'edge-1'], follower);
  expect(rejected).toMatchObject({ status: 2, stderr: expect.stringContaining('NOT_FOUND') });
  const response = await fetch(`${urlOf(follower)}/v1/abort`, {
    method: 'POST',
    headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
    body: '{"reason":"curl"}',
    redirect: 'error',
  });
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({ paused: true });
  const { events } = await get(follower, '/v1/events');
  expect(events.at(-1)).toMatchObject({ action: 'abort', actor: 'ada', reason: 'curl' });
});

test('the event log continues with the next leader, also in a stream that is open', async () => {
  const leader = await leaderId();
  const follower = other(leader);
  const before = (await get(leader, '/v1/events')).events as { id: number; type: string }[];
  const following = start(['events', '--follow', '--json', '--control', urlOf(follower)]);
  const ids = () =>
    following.seen.stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line).id as number);
  await eventually(() => expect(ids()).toEqual(before.map(({ id }) => id)));
  await controls.get(leader)!.stop();
  controls.delete(leader);
  await eventually(async () => expect(await leaderId()).toBe(follower));
  await eventually(() => expect(following.seen.stdout).toMatch(/leader-changed.*\n$/));
  await eventually(async () => expect((await longline(['pause'], follower)).status).toBe(0));
  await startControl(leader);
  // A restarted control shows what was recorded before it started, under the same ids.
  const after = await eventually(async () => {
    const { events } = await get(leader, '/v1/events');
    expect(events.at(-1)).toMatchObject({ action: 'pause' });
    return events as { id: number }[];
  });
  expect(after.slice(0, before.length)).toEqual(before);
  await eventually(() => expect(ids()).toEqual(after.map(({ id }) => id)));
  expect(ids()).toEqual([...ids()].sort((a, b) => a - b));
  expect(following.seen.stderr).toBe('');
});

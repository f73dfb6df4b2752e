/**
 * Goal: a push to a group reaches every member once, connected or away, clients and users; backends
 * join, leave, list and delete over gRPC, HTTP and the command line; bad input changes nothing.
 * Method: a cluster of processes with two edges; SSE devices; members on all shards.
 */
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { PushGroupResponse } from '../../../proto/gen/longline/v1/group.js';
import { AcceptLevel, Verdict, WaitFor } from '../../../proto/gen/longline/v1/push.js';
import { longline } from '../../support/cluster/longline-command.js';
import { LIVE, type PushClient } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { openWs } from '../../support/devices/websocket-client.js';
import { eventually } from '../../support/eventually.js';

const DEVICES_MAX = 4;

let running: RunningCluster;
let client: PushClient;

beforeAll(async () => {
  const env = { LONGLINE_ROUTER_USER_DEVICES_MAX: `${DEVICES_MAX}` };
  running = await RunningCluster.start({ edges: 2, env });
  client = running.push;
});

afterAll(async () => {
  await running?.stop();
});

const connect = (clientId: string) => SseClient.open(running.connectUrl(clientId));
const names = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, i) => `${prefix}-${i}`);

function countsOf({ counts }: PushGroupResponse): Record<string, number> {
  return Object.fromEntries(
    counts.map(({ verdict, count }) => [Verdict[verdict]!.replace('VERDICT_', ''), count]),
  );
}

async function post(path: string, body: object): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${running.cluster.pushUrl()}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

describe('a push to a group', () => {
  test('reaches each member once, now or when it returns, and no other client', async () => {
    const there = await Promise.all(names('there', 20).map(connect));
    const other = await connect('other');
    await running.untilCaughtUp();
    const members = [...names('there', 20), ...names('away', 300)];
    expect(await client.joinGroup('room', ...members, 'there-0')).toMatchObject({ joined: 320 });
    const pushed = await client.pushGroup('room', 'hello');
    expect(countsOf(pushed)).toEqual({ WRITTEN: 20, STORED: 300 });
    expect(pushed).toMatchObject({ failed: 0, failures: [], resumeToken: '' });
    const live = await client.pushGroup('room', 'live', LIVE);
    expect(countsOf(live)).toEqual({ WRITTEN: 20, OFFLINE: 300 });
    await client.push('there-3', 'alone');
    await client.pushGroup('room', 'last');
    const back = await connect('away-7');
    await eventually(() => {
      for (const [i, { data }] of there.entries()) {
        const alone = i === 3 ? ['alone'] : [];
        expect(data).toEqual(['hello', 'live', ...alone, 'last']);
      }
      expect(back.data).toEqual(['hello', 'last']);
    });
    expect(other.data).toEqual([]);
    for (const device of [...there, other, back]) device.close();
  });

  test('that is repeated with its key reaches only members without it', async () => {
    await client.joinGroup('once', 'once-1', 'once-2');
    const options = { idempotencyKey: 'k' };
    expect(countsOf(await client.pushGroup('once', 'x', options))).toEqual({ STORED: 2 });
    await client.joinGroup('once', 'once-3');
    expect(countsOf(await client.pushGroup('once', 'x', options))).toEqual({
      DUPLICATE: 2,
      STORED: 1,
    });
    const device = await connect('once-1');
    await device.until(1);
    expect(device.data).toEqual(['x']);
    device.close();
  });

  test('reaches all devices of a member that is a user, each once', async () => {
    await running.connectOnce('alice/away');
    const devices = [await connect('alice/1'), await connect('alice/2'), await connect('bob')];
    await running.untilCaughtUp();
    await client.joinGroup('users', 'alice', 'alice/1', 'alice/new', 'bob');
    expect(countsOf(await client.pushGroup('users', 'hello'))).toEqual({ WRITTEN: 3, STORED: 2 });
    expect(countsOf(await client.pushGroup('users', 'live', LIVE))).toEqual({
      WRITTEN: 3,
      OFFLINE: 2,
    });
    await eventually(() => {
      for (const { data } of devices) expect(data).toEqual(['hello', 'live']);
    });
    for (const device of devices) device.close();
  });

  test('fails for a user with too many devices, and only for that', async () => {
    for (let i = 0; i <= DEVICES_MAX; i++) await running.connectOnce(`erin/${i}`);
    await client.joinGroup('many', 'erin', 'erwin');
    const pushed = await client.pushGroup('many', 'x');
    expect(countsOf(pushed)).toEqual({ STORED: 1 });
    expect(pushed.failures).toMatchObject([
      { clientId: 'erin', failure: { code: 'USER_DEVICES_TOO_MANY' } },
    ]);
  });

  test('waits for what a push can wait for', async () => {
    await client.joinGroup('waiting', 'waiting-1', 'waiting-2');
    const stored = { waitFor: WaitFor.WAIT_FOR_STORED };
    expect(countsOf(await client.pushGroup('waiting', 'x', stored))).toEqual({ STORED: 2 });
    const acked = { waitFor: WaitFor.WAIT_FOR_ACKED, waitMs: 200 };
    expect(countsOf(await client.pushGroup('waiting', 'x', acked))).toEqual({ STORED: 2 });
    const fsynced = { acceptLevel: AcceptLevel.ACCEPT_LEVEL_FSYNCED };
    const { failures } = await client.pushGroup('waiting', 'x', fsynced);
    expect(failures.map(({ failure }) => failure?.code)).toEqual(
      Array(2).fill('ACCEPT_LEVEL_UNAVAILABLE'),
    );
  });

  test('keeps to a rate, stops before the deadline of its call, and goes on later', async () => {
    await client.joinGroup('slow', ...names('slow', 400));
    // The router ends a call half a second before its deadline: on a busy machine, one answer may
    // be late. Each try has a key of its own, so its pushes are no duplicates.
    let idempotencyKey = '';
    const first = await eventually(() => {
      idempotencyKey += 'k';
      return client.pushGroup('slow', 'x', { clientsPerSecond: 100, idempotencyKey }, 2_500);
    });
    expect(first.stopped).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    const [begun] = first.counts;
    expect(begun!.count).toBeLessThan(400);
    const { resumeToken } = first;
    const rest = await client.pushGroup('slow', 'x', { idempotencyKey, resumeToken });
    expect(rest.resumeToken).toBe('');
    expect(countsOf(rest)).toEqual({ STORED: 400 - begun!.count });
  });

  test('to a group that is deleted meanwhile reaches some, and ends', async () => {
    await client.joinGroup('deleted', ...names('deleted', 500));
    const pushing = client.pushGroup('deleted', 'x', { clientsPerSecond: 2_000 });
    const { removed } = await client.deleteGroup('deleted');
    expect(removed).toBe(500);
    const { counts, resumeToken } = await pushing;
    expect(resumeToken).toBe('');
    for (const { count } of counts) expect(count).toBeLessThanOrEqual(500);
    expect((await client.listMembers({ group: 'deleted' })).members).toEqual([]);
    expect((await client.pushGroup('deleted', 'x')).counts).toEqual([]);
  });
});

describe('members', () => {
  test('join, leave and are listed in pages, and so are the groups', async () => {
    const members = names('listed', 50);
    await client.joinGroup('listed', ...members);
    expect(await client.leaveGroup('listed', 'listed-0', 'stranger')).toMatchObject({ left: 1 });
    const found: string[] = [];
    let pageToken = '';
    do {
      const page = await client.listMembers({ group: 'listed', pageSize: 20, pageToken });
      expect(page.members.length).toBeLessThanOrEqual(20);
      found.push(...page.members);
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    expect(found.sort()).toEqual(members.slice(1).sort());
    await client.joinGroup('a/b', 'listed-1');
    const { groups } = await client.listGroups({ member: 'listed-1' });
    expect(groups).toEqual(['a/b', 'listed']);
    const all: string[] = [];
    do {
      const page = await client.listGroups({ pageSize: 2, pageToken });
      all.push(...page.groups);
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    expect(all).toEqual(expect.arrayContaining(['a/b', 'listed']));
    expect(new Set(all).size).toBe(all.length);
    expect(await client.deleteGroup('listed')).toEqual({ removed: 49 });
    expect((await client.listGroups({ member: 'listed-1' })).groups).toEqual(['a/b']);
    await client.leaveGroup('a/b', 'listed-1');
    expect((await client.listGroups({ pageSize: 10_000 })).groups).not.toContain('a/b');
  });

  test('that are no clientIds fail alone', async () => {
    const joined = await client.joinGroup('some', 'valid', 'a\nb', '', 'x'.repeat(300), 'a/');
    expect(joined).toMatchObject({ joined: 1, failed: 4 });
    for (const { failure } of joined.failures) expect(failure?.code).toBe('CLIENT_ID_INVALID');
  });
});

describe('bad input', () => {
  const invalid = { code: status.INVALID_ARGUMENT };

  test.each(['', 'a\nb', 'room-*', 'a/+', '#', 'x'.repeat(257), 'ü'.repeat(129)])(
    'the group %j is rejected by every call',
    async (group) => {
      const rejected = { ...invalid, details: expect.stringContaining('GROUP_INVALID') };
      await expect(client.joinGroup(group, 'alice')).rejects.toMatchObject(rejected);
      await expect(client.leaveGroup(group, 'alice')).rejects.toMatchObject(rejected);
      await expect(client.deleteGroup(group)).rejects.toMatchObject(rejected);
      await expect(client.listMembers({ group })).rejects.toMatchObject(rejected);
      await expect(client.pushGroup(group, 'x')).rejects.toMatchObject(rejected);
    },
  );

  test('bounds are those of the documents', async () => {
    await expect(client.joinGroup('room')).rejects.toMatchObject(invalid);
    await expect(client.joinGroup('room', ...names('m', 10_001))).rejects.toMatchObject(invalid);
    const tooLong = { group: 'room', pageSize: 10_001 };
    await expect(client.listMembers(tooLong)).rejects.toMatchObject(invalid);
    const unknown = { group: 'room', pageToken: 'x' };
    await expect(client.listMembers(unknown)).rejects.toMatchObject(invalid);
    await expect(client.listGroups({ pageToken: 'x' })).rejects.toMatchObject(invalid);
    await expect(client.listGroups({ member: 'a\nb' })).rejects.toMatchObject(invalid);
    await expect(client.pushGroup('room', 'x', { resumeToken: 'x' })).rejects.toMatchObject(
      invalid,
    );
    const key = { idempotencyKey: 'k'.repeat(129) };
    await expect(client.pushGroup('room', 'x', key)).rejects.toMatchObject(invalid);
    await expect(client.pushGroup('room', 'x', { ttlMs: 2 ** 32 - 1 })).rejects.toMatchObject({
      details: expect.stringContaining('TTL_TOO_LONG'),
    });
  });
});

describe('a device joins and leaves', () => {
  const membersOf = async (group: string) => (await client.listMembers({ group })).members;

  test('with messages of longline.json', async () => {
    const { url } = await running.lookUp('talker');
    const device = await openWs(url, 'longline.json');
    const answersOf = (text: string) => device.envelopes.filter(({ type }) => type === text);
    await device.send('{"type":"join","group":"chat"}');
    await eventually(() =>
      expect(answersOf('joined')).toEqual([{ type: 'joined', group: 'chat' }]),
    );
    await running.untilCaughtUp();
    expect(countsOf(await client.pushGroup('chat', 'hello'))).toEqual({ WRITTEN: 1 });
    await eventually(() => expect(answersOf('push')).toMatchObject([{ data: 'hello' }]));
    await device.send('{"type":"join","group":"chat-*"}');
    await eventually(() => {
      expect(answersOf('group-error')).toMatchObject([{ code: 'GROUP_INVALID' }]);
    });
    await device.send('{"type":"leave","group":"chat"}');
    await eventually(() => expect(answersOf('left')).toHaveLength(1));
    expect(await membersOf('chat')).toEqual([]);
    await device.end();
  });

  test('in the query of its connect request', async () => {
    const device = await SseClient.open(`${running.connectUrl('newcomer')}&groups=a%2Cb,c`);
    expect(await membersOf('a,b')).toEqual(['newcomer']);
    expect(await membersOf('c')).toEqual(['newcomer']);
    device.close();
    const invalid = SseClient.open(`${running.connectUrl('newcomer')}&groups=c,*`);
    await expect(invalid).rejects.toMatchObject({
      status: 400,
      body: expect.stringContaining('GROUP_INVALID'),
    });
  });

  test('with SUBSCRIBE to group/<name>, and an SSE device of the same user has the push, too', async () => {
    const { port } = new URL((await running.lookUp('ivy/phone')).url);
    const phone = await MqttDevice.connect(Number(port), 'ivy/phone');
    const tabs = [await connect('ivy/browser.1'), await connect('ivy/browser.2')];
    await phone.subscribe('push/ivy/phone');
    await phone.subscribe('group/garden/7');
    expect(await membersOf('garden/7')).toEqual(['ivy/phone']);
    await client.joinGroup('garden/7', 'ivy');
    await running.untilCaughtUp();
    expect(countsOf(await client.pushGroup('garden/7', 'hello'))).toEqual({ WRITTEN: 3 });
    await eventually(() => {
      expect(phone.received).toMatchObject([{ topic: 'push/ivy/phone', payload: 'hello' }]);
      for (const { data } of tabs) expect(data).toEqual(['hello']);
    });
    const rejected = await phone.subscribe('group/+').catch(() => [128]);
    expect(rejected).toEqual([128]);
    await phone.client.unsubscribeAsync('group/garden/7');
    expect(await membersOf('garden/7')).toEqual(['ivy']);
    await phone.close();
    for (const tab of tabs) tab.close();
  });
});

test('HTTP has the same calls', async () => {
  const group = 'http';
  const join = { group, members: ['http-1', 'http-2', ''] };
  expect(await post('/v1/groups:join', join)).toMatchObject({
    status: 200,
    body: { joined: 2, failed: 1, failures: [{ error: { code: 'CLIENT_ID_INVALID' } }] },
  });
  const push = { group, payload: { hello: 'world' } };
  expect(await post('/v1/push:group', push)).toEqual({
    status: 200,
    body: { counts: { STORED: 2 }, failed: 0, failures: [], resumeToken: null, stopped: null },
  });
  expect(await post('/v1/groups:members', { group })).toMatchObject({
    body: { members: expect.arrayContaining(['http-1', 'http-2']), nextPageToken: null },
  });
  expect(await post('/v1/groups:list', { member: 'http-1' })).toMatchObject({
    body: { groups: [group] },
  });
  expect(await post('/v1/groups:leave', { group, members: ['http-1'] })).toMatchObject({
    body: { left: 1 },
  });
  expect(await post('/v1/groups:delete', { group })).toMatchObject({ body: { removed: 1 } });
  expect(await post('/v1/groups:delete', { group: 'a*' })).toMatchObject({
    status: 400,
    body: { error: { code: 'GROUP_INVALID' } },
  });
  expect(await post('/v1/groups:list', { member: '' })).toMatchObject({ status: 400 });
  expect(await post('/v1/push:group', { group })).toMatchObject({ status: 400 });
});

test('the command line joins, lists, pushes and deletes', async () => {
  const run = (...args: string[]) => longline(running, 'groups', ...args);
  expect(await run('join', 'cli', 'cli-1', 'cli-2')).toMatchObject({
    exit: 0,
    stdout: '2 members joined, 0 failed\n',
  });
  expect(await run('join', 'cli', 'a/')).toMatchObject({
    exit: 1,
    stdout: expect.stringContaining('CLIENT_ID_INVALID'),
  });
  expect((await run('members', 'cli')).stdout.split('\n').sort()).toEqual(['', 'cli-1', 'cli-2']);
  expect(await run('list', '--member', 'cli-1')).toMatchObject({ stdout: 'cli\n' });
  expect((await run('list')).stdout.split('\n')).toContain('cli');
  expect(await run('push', 'cli', 'hello')).toMatchObject({
    exit: 0,
    stdout: '2 STORED, 0 failed\n',
  });
  expect(await run('leave', 'cli', 'cli-1', '--json')).toMatchObject({
    stdout: '{"group":"cli","left":1,"failed":0,"failures":[]}\n',
  });
  expect(await run('delete', 'cli')).toMatchObject({ exit: 0, stdout: '1 member removed\n' });
  expect(await run('push', 'a*', 'x')).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining('GROUP_INVALID'),
  });
});

/**
 * Goal: a push to a user reaches every device of that user, connected or away, once; presence and
 * disconnect know users; operators block users and devices; the command line offers the same.
 * Pushes replace or extend one another, with the same truth about what a device has missed. Method:
 * a cluster of processes with two edges; SSE, WebSocket and MQTT devices of one user.
 */
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type ClientFilter, controlApi } from '../../../cli/control/api.js';
import { shardOf } from '../../../common/cluster/shard.js';
import {
  type PushUserResponse,
  Verdict,
  WaitFor,
  WhenSlow,
} from '../../../proto/gen/longline/v1/push.js';
import { longline } from '../../support/cluster/longline-command.js';
import { LIVE, type PushClient } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';

const DEVICES_MAX = 4;

let running: RunningCluster;
let client: PushClient;

beforeAll(async () => {
  const env = {
    LONGLINE_ROUTER_USER_DEVICES_MAX: `${DEVICES_MAX}`,
    // The command line waits that long for a verdict, also on a busy machine.
    LONGLINE_ROUTER_WAIT_MS: '10000',
  };
  running = await RunningCluster.start({ edges: 2, env });
  client = running.push;
});

afterAll(async () => {
  await running?.stop();
});

const connect = (clientId: string) => SseClient.open(running.connectUrl(clientId));

function verdictsOf({ devices }: PushUserResponse): Record<string, string | undefined> {
  return Object.fromEntries(
    devices.map(({ clientId, outcome }) => [
      clientId,
      outcome?.$case === 'push' ? Verdict[outcome.value.verdict] : outcome?.value.code,
    ]),
  );
}

test('all devices of a user get a push, by any protocol, now or when they return', async () => {
  await running.connectOnce('alice/away');
  const browser = await connect('alice/browser/1');
  const { port } = new URL((await running.lookUp('alice/phone')).url);
  const mqtt = await MqttDevice.connect(Number(port), 'alice/phone');
  await mqtt.subscribe('push/alice/phone');
  const other = await connect('alicia/phone');
  await running.untilCaughtUp();
  const pushed = await client.pushUser('alice', 'to all');
  expect(verdictsOf(pushed)).toEqual({
    'alice/away': 'VERDICT_STORED',
    'alice/browser/1': 'VERDICT_WRITTEN',
    'alice/phone': 'VERDICT_WRITTEN',
  });
  const countOf = (verdict: Verdict) => pushed.counts.find((one) => one.verdict === verdict)?.count;
  expect([countOf(Verdict.VERDICT_WRITTEN), countOf(Verdict.VERDICT_STORED)]).toEqual([2, 1]);
  const live = await client.pushUser('alice', 'live', LIVE);
  expect(verdictsOf(live)).toMatchObject({ 'alice/away': 'VERDICT_OFFLINE' });
  const away = await connect('alice/away');
  await eventually(() => {
    expect(browser.data).toEqual(['to all', 'live']);
    expect(mqtt.payloads).toEqual(['to all', 'live']);
    expect(away.data).toEqual(['to all']);
  });
  expect(other.data).toEqual([]);
  await mqtt.close();
  for (const device of [browser, away, other]) device.close();
});

test('an idempotency key holds for each device: a retry reaches only those that have none', async () => {
  await running.connectOnce('bob/1');
  const options = { idempotencyKey: 'order-7' };
  expect(verdictsOf(await client.pushUser('bob', 'x', options))).toEqual({
    'bob/1': 'VERDICT_STORED',
  });
  await running.connectOnce('bob/2');
  expect(verdictsOf(await client.pushUser('bob', 'x', options))).toEqual({
    'bob/1': 'VERDICT_DUPLICATE',
    'bob/2': 'VERDICT_STORED',
  });
});

test('a user without devices is the client of that name', async () => {
  const device = await connect('carol');
  await running.untilCaughtUp();
  expect(verdictsOf(await client.pushUser('carol', 'x'))).toEqual({ carol: 'VERDICT_WRITTEN' });
  expect(verdictsOf(await client.pushUser('cora', 'x'))).toEqual({ cora: 'VERDICT_STORED' });
  device.close();
});

test('presence and disconnect of a user are those of its devices', async () => {
  const devices = await Promise.all([connect('dave/1'), connect('dave/2')]);
  const { connections, complete } = await client.presence('', 'dave');
  expect(connections.map(({ clientId }) => clientId).sort()).toEqual(['dave/1', 'dave/2']);
  expect(complete).toBe(true);
  expect(await client.disconnect('', 'dave')).toEqual({ closed: 2, complete: true });
  await Promise.all(devices.map((device) => device.ended));
  expect((await client.presence('', 'dave')).connections).toEqual([]);
});

test('a user with too many devices gets nothing, and the caller is told', async () => {
  for (let i = 0; i <= DEVICES_MAX; i++) await running.connectOnce(`erin/${i}`);
  await expect(client.pushUser('erin', 'x')).rejects.toMatchObject({
    code: status.FAILED_PRECONDITION,
    details: expect.stringContaining('USER_DEVICES_TOO_MANY'),
  });
});

test.each(['', 'alice/phone', 'a\nb', 'x'.repeat(257)])('the user %j is rejected', async (user) => {
  const rejected = { code: status.INVALID_ARGUMENT };
  await expect(client.pushUser(user, 'x')).rejects.toMatchObject(rejected);
});

test('a request names a client or a user, not both', async () => {
  const rejected = { code: status.INVALID_ARGUMENT };
  await expect(client.presence('a', 'a')).rejects.toMatchObject(rejected);
  await expect(client.disconnect('a', 'a')).rejects.toMatchObject(rejected);
  await expect(client.presence('')).rejects.toMatchObject(rejected);
});

test('the command line pushes to a user, shows and closes its connections', async () => {
  await running.connectOnce('fred/1');
  const device = await connect('fred/2');
  await running.untilCaughtUp();
  const push = await longline(running, 'push', 'fred', 'hello', '--user');
  expect(push.exit).toBe(1);
  expect(push.stdout).toMatch(/^fred\/1 {2}STORED {2}\d+-\d+\nfred\/2 {2}WRITTEN {2}\d+-\d+\n$/);
  const args = ['push', 'fred', 'hello', '--user', '--wait-for', 'stored', '--json'];
  const stored = await longline(running, ...args);
  expect(stored.exit).toBe(0);
  expect(JSON.parse(stored.stdout)).toMatchObject({ user: 'fred', devices: [{}, {}] });
  const presence = await longline(running, 'presence', 'fred', '--user');
  expect(presence).toMatchObject({ exit: 0, stdout: expect.stringMatching(/^fred\/2 connected/) });
  const disconnect = await longline(running, 'disconnect', 'fred', '--user');
  expect(disconnect).toMatchObject({ exit: 0, stdout: 'closed 1 connection\n' });
  device.close();
});

test('operators list the clients that match, and disconnect them at a rate', async () => {
  const { port } = new URL((await running.lookUp('ines/mqtt')).url);
  const [phone, tab] = [await connect('ines/phone'), await connect('ines/tab')];
  const mqtt = await MqttDevice.connect(Number(port), 'ines/mqtt');
  const other = await connect('iris');
  const api = controlApi(running.cluster.controlUrl);
  const listed = async (filter: ClientFilter) => {
    const { clients, next, silentEdges } = await api.clients({ ...filter, limit: 100 });
    expect([next, silentEdges]).toEqual([null, []]);
    return clients.map(({ clientId }) => clientId).sort();
  };
  const user = 'ines';
  expect(await listed({ user })).toEqual(['ines/mqtt', 'ines/phone', 'ines/tab']);
  expect(await listed({ user, protocol: 'sse' })).toEqual(['ines/phone', 'ines/tab']);
  expect(await listed({ user, olderThanMs: 3_600_000 })).toEqual([]);
  expect(await listed({ selector: 'app=ios' })).toEqual([]);
  const shard = shardOf(user, 4_096);
  expect(await listed({ shard })).toEqual(expect.arrayContaining(['ines/tab']));
  await expect(listed({ edge: 'nowhere' })).rejects.toThrow('NOT_FOUND');
  await expect(listed({ selector: 'app in' })).rejects.toThrow('SELECTOR_INVALID');
  await expect(api.disconnectClients({ rate: 10 })).rejects.toThrow('REQUEST_MALFORMED');
  expect((await api.user(user)).devices).toHaveLength(3);

  const filter = ['--user', 'ines', '--protocol', 'sse'];
  const { stdout } = await longline(running, 'clients', ...filter);
  expect(stdout.match(/^ines\/(phone|tab) +edge-\d +sse +127\.0\.0\.1:\d+ /gm)).toHaveLength(2);
  const disconnect = ['disconnect-clients', ...filter, '--rate', '1000', '--reason', 'test'];
  const done = await longline(running, ...disconnect);
  expect(done).toMatchObject({ exit: 0, stdout: expect.stringContaining('finished: 2 clients') });
  await Promise.all([phone.ended, tab.ended]);
  expect(await listed({ user })).toEqual(['ines/mqtt']);
  expect(await api.disconnects()).toMatchObject([
    { state: 'finished', clients: 2, edgesDone: 2, filter: { user, protocol: 'sse' } },
  ]);
  const detail = 'user=ines protocol=sse rate=1000';
  expect(await api.events(0)).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ action: 'disconnect', detail, reason: 'test', actor: 'local' }),
      expect.objectContaining({ type: 'clients-disconnected', clients: 2, reason: 'finished' }),
    ]),
  );
  expect(mqtt.client.connected).toBe(true);
  await mqtt.close();
  other.close();
});

test('a blocked user is disconnected and rejected on every edge, other users are not', async () => {
  const { port } = new URL((await running.lookUp('gina/mqtt')).url);
  const devices = [await connect('gina/1'), await connect('gina/2')];
  const mqtt = await MqttDevice.connect(Number(port), 'gina/mqtt', { protocolVersion: 5 });
  const other = await connect('ginas');
  const block = await longline(running, 'block', 'gina', '--for', '1h', '--reason', 'abuse');
  expect(block).toMatchObject({ exit: 0, stdout: expect.stringContaining('for 1h 0m') });
  await Promise.all(devices.map((device) => device.ended));
  await eventually(() => expect(mqtt.client.connected).toBe(false));
  const rejected = await connect('gina/1').catch((error) => error);
  expect(rejected).toMatchObject({ status: 429, body: expect.stringContaining('CLIENT_BLOCKED') });
  await expect(
    MqttDevice.connect(Number(port), 'gina/mqtt', { protocolVersion: 5 }),
  ).rejects.toThrow('Banned');
  expect((await longline(running, 'blocks')).stdout).toMatch(
    /^name +blocked for\ngina +(1h 0m|59m \d+s)\n$/,
  );
  expect(await client.push('gina/1', 'for later')).toMatchObject({ verdict: 'STORED' });
  expect((await longline(running, 'events')).stdout).toContain(
    'block  gina  by local  reason: abuse',
  );

  expect(await longline(running, 'unblock', 'gina')).toMatchObject({ exit: 0 });
  expect(await longline(running, 'unblock', 'gina')).toMatchObject({ exit: 1 });
  await eventually(async () => {
    const back = await connect('gina/1');
    await back.until(1);
    expect(back.data).toEqual(['for later']);
    back.close();
  });
  expect(other.events).toEqual([]);
  expect((await client.presence('ginas')).connections).toHaveLength(1);
  other.close();
});

test('one device is blocked alone, and only for its time', async () => {
  const phone = await connect('hana/phone');
  const tablet = await connect('hana/tablet');
  await longline(running, 'block', 'hana/phone', '--for', '2s');
  await phone.ended;
  expect((await client.presence('', 'hana')).connections).toMatchObject([
    { clientId: 'hana/tablet' },
  ]);
  await eventually(async () => (await connect('hana/phone')).close());
  tablet.close();
});

test.each([
  ['alice', '1y'],
  ['alice', '0s'],
  ['a/', '1h'],
])('blocking %j for %s is rejected', async (name, time) => {
  expect((await longline(running, 'block', name, '--for', time)).exit).not.toBe(0);
});

/** Connects with a cursor and returns the events before a push that is sent after the connect. */
async function backlogOf(clientId: string, lastEventId = '') {
  const device = await SseClient.open(running.connectUrl(clientId), {
    headers: lastEventId === '' ? {} : { 'Last-Event-ID': lastEventId },
  });
  await client.push(clientId, 'the end');
  await eventually(() => device.data.at(-1) === 'the end');
  device.close();
  await eventually(async () => (await client.presence(clientId)).connections.length === 0);
  return device.events.slice(0, -1);
}

describe('pushes with a collapse key', () => {
  const position = { collapseKey: 'position' };

  test('replace one another for a device that is away, without a gap', async () => {
    const device = await connect('mover');
    await running.untilCaughtUp();
    const received = await client.push('mover', 'position 0', position);
    expect(received.verdict).toBe('WRITTEN');
    await device.until(1);
    device.close();
    await eventually(async () => (await client.presence('mover')).connections.length === 0);
    await client.push('mover', 'other');
    let newest = received;
    for (let i = 1; i <= 5; i++) {
      const pushed = await client.push('mover', `position ${i}`, position);
      // A connected device gets the old one and the new one.
      expect(pushed).toMatchObject({ verdict: 'STORED', replacedId: newest.messageId });
      newest = pushed;
    }
    const events = await backlogOf('mover', received.messageId);
    expect(events.map(({ event, data }) => [event, data])).toEqual([
      ['message', 'other'],
      ['message', 'position 5'],
    ]);
  });

  test('are REPLACED for a caller that waits for the acknowledgement', async () => {
    const waiting = client.push('waiting', 'old', {
      ...{ collapseKey: 'k', waitFor: WaitFor.WAIT_FOR_ACKED, waitMs: 20_000 },
    });
    await eventually(async () => {
      const { replacedId } = await client.push('waiting', 'new', { collapseKey: 'k' });
      expect(replacedId).toBeDefined();
    });
    expect(await waiting).toMatchObject({ verdict: 'REPLACED' });
  });

  test('wait in the inbox of a device that does not read, which then gets the newest', async () => {
    const device = await connect('slow');
    await running.untilCaughtUp();
    device.response.pause();
    const filler = Buffer.alloc(64 * 1024, 'f').toString();
    let fillers = 0;
    for (let isWaiting = false; !isWaiting && fillers < 400; fillers++) {
      await client.push('slow', filler);
      isWaiting = (await client.push('slow', `before ${fillers}`, position)).verdict === 'STORED';
    }
    for (let i = 1; i <= 10; i++) {
      const pushed = await client.push('slow', `position ${i}`, position);
      expect(pushed).toMatchObject({ verdict: 'STORED', replacedId: expect.any(String) });
    }
    device.response.resume();
    await eventually(() => device.data.at(-1) === 'position 10');
    expect(device.isOpen).toBe(true);
    const received = device.data.filter((data) => data !== filler);
    // All were written until one had to wait; that one was replaced.
    const before = Array.from({ length: fillers - 1 }, (_, i) => `before ${i}`);
    expect(received).toEqual([...before, 'position 10']);
    expect(device.data.length - received.length).toBe(fillers);
    device.close();
  });
});

describe('a growing message', () => {
  const append = (clientId: string, text: string, appendTo: string, appendEnd = false) =>
    client.push(clientId, text, { appendTo, appendEnd });

  test('is delivered part by part, and what was missed as one push', async () => {
    const clientId = 'reader';
    const device = await connect(clientId);
    await running.untilCaughtUp();
    for (const text of ['Once ', 'upon ', 'a ']) {
      expect(await append(clientId, text, 'tale')).toMatchObject({ verdict: 'WRITTEN' });
    }
    await device.until(3);
    const part = (event: { data: string }) => JSON.parse(event.data) as unknown;
    expect(device.events.map((event) => [event.event, part(event)])).toEqual([
      ['append', { appendTo: 'tale', offset: 0, data: 'Once ' }],
      ['append', { appendTo: 'tale', offset: 5, data: 'upon ' }],
      ['append', { appendTo: 'tale', offset: 10, data: 'a ' }],
    ]);
    const cursor = device.events[1]!.id;
    device.close();
    await eventually(async () => (await client.presence(clientId)).connections.length === 0);
    await append(clientId, 'time ', 'tale');
    const last = await append(clientId, '…', 'tale', true);
    const [missed, ...others] = await backlogOf(clientId, cursor);
    expect(others).toEqual([]);
    expect(missed).toMatchObject({ event: 'append', id: last.messageId });
    expect(part(missed!)).toEqual({ appendTo: 'tale', offset: 10, end: true, data: 'a time …' });
  });

  test('comes part by part over MQTT, with user properties in MQTT 5', async () => {
    for (const version of [4, 5] as const) {
      const clientId = `reader-${version}`;
      await append(clientId, 'one ', 'm');
      await append(clientId, 'two', 'm', true);
      const { port } = new URL((await running.lookUp(clientId)).url);
      const mqtt = await MqttDevice.connect(Number(port), clientId, {
        ...{ protocolVersion: version, clean: false },
        ...(version === 5 && { properties: { sessionExpiryInterval: 60 } }),
      });
      await mqtt.subscribe(`push/${clientId}`);
      await mqtt.until(2);
      expect(mqtt.payloads).toEqual(['one ', 'two']);
      const properties = mqtt.received.map(({ properties: { userProperties } }) => userProperties);
      const of = (offset: string) => ({ 'append-to': 'm', 'append-offset': offset });
      const expected = [of('0'), { ...of('4'), 'append-end': 'true' }];
      expect(properties.map((each) => each && { ...(each as object) })).toEqual(
        version === 5 ? expected : [undefined, undefined],
      );
      await mqtt.close();
    }
  });

  test('with parts that were confirmed begins where the device was', async () => {
    const clientId = 'confirmed';
    const ids: string[] = [];
    for (let i = 0; i < 100; i++) ids.push((await append(clientId, `${i} `, 'm')).messageId);
    const [rest, ...others] = await backlogOf(clientId, ids[59]);
    expect(others).toEqual([]);
    const texts = Array.from({ length: 100 }, (_, i) => `${i} `);
    expect(JSON.parse(rest!.data)).toEqual({
      ...{ appendTo: 'm', offset: texts.slice(0, 60).join('').length },
      data: texts.slice(60).join(''),
    });
  });

  test('is never joined across another push', async () => {
    const clientId = 'interrupted';
    await append(clientId, 'a', 'm');
    await client.push(clientId, 'other');
    await append(clientId, 'b', 'm');
    await append(clientId, 'c', 'm');
    const events = await backlogOf(clientId);
    expect(events.map(({ data }) => data)).toEqual([
      '{"appendTo":"m","offset":0,"data":"a"}',
      'other',
      '{"appendTo":"m","offset":1,"data":"bc"}',
    ]);
  });

  test('is rejected with a code when it cannot grow', async () => {
    await append('ended', 'all', 'm', true);
    const rejections = [
      [() => append('ended', 'more', 'm'), status.FAILED_PRECONDITION, 'APPEND_ENDED'],
      [
        () => client.push('bad', 'p', { collapseKey: 'k', appendTo: 'm' }),
        status.INVALID_ARGUMENT,
        'PUSH_KEY_INVALID',
      ],
      [() => append('bad', 'p', 'é'.repeat(33)), status.INVALID_ARGUMENT, 'PUSH_KEY_INVALID'],
      [() => append('bad', 'p', 'm\n'), status.INVALID_ARGUMENT, 'PUSH_KEY_INVALID'],
      [
        () => client.push('bad', 'p', { appendEnd: true }),
        status.INVALID_ARGUMENT,
        'PUSH_KEY_INVALID',
      ],
      [
        () => client.push('bad', 'p', { ...LIVE, collapseKey: 'k' }),
        status.INVALID_ARGUMENT,
        'PUSH_KEY_INVALID',
      ],
    ] as const;
    for (const [call, code, name] of rejections) {
      await expect(call()).rejects.toMatchObject({ code, details: expect.stringContaining(name) });
    }
    await append('large', 'p'.repeat(1024 * 1024), 'm');
    for (let i = 0; i < 3; i++) await append('large', 'p'.repeat(1024 * 1024), 'm');
    await expect(append('large', 'p', 'm')).rejects.toMatchObject({
      details: expect.stringContaining('APPEND_TOO_LARGE'),
    });
  });
});

test('the command line replaces and extends pushes', async () => {
  const push = (...args: string[]) => longline(running, 'push', 'cli', ...args);
  const pushed = await push('one', '--collapse-key', 'k');
  const [, id] = pushed.stdout.trim().split('  ');
  const again = await push('two', '--collapse-key', 'k', '--json');
  expect(JSON.parse(again.stdout)).toMatchObject({ verdict: 'STORED', replacedId: id });
  await push('part', '--append-to', 'm', '--append-end');
  const late = await push('late', '--append-to', 'm');
  expect(late).toMatchObject({ exit: 2, stderr: expect.stringContaining('APPEND_ENDED') });
});

describe('a push to a client that does not read', () => {
  const LARGE = 'x'.repeat(256 * 1_024);
  const DROP = { ...LIVE, whenSlow: WhenSlow.WHEN_SLOW_DROP };
  const KEEP = { whenSlow: WhenSlow.WHEN_SLOW_KEEP };

  /** Connects a client and fills its buffers. Returns how many pushes were written. */
  async function fill(clientId: string): Promise<{ device: SseClient; written: number }> {
    const device = await connect(clientId);
    device.response.pause();
    for (let written = 0; ; written++) {
      const { verdict } = await client.push(clientId, LARGE, DROP);
      if (verdict === 'DROPPED') return { device, written };
      expect(verdict).toBe('WRITTEN');
    }
  }

  test('is dropped or kept for later as it asks, and the connection stays', async () => {
    const { device, written } = await fill('slow-kept');
    const kept = await client.push('slow-kept', LARGE, KEEP);
    expect(kept).toMatchObject({ verdict: 'STORED', messageId: expect.stringContaining('-') });
    const after = await client.push('slow-kept', 'after', {});
    expect(after.verdict).toBe('STORED');
    const slow = await longline(running, 'slow', '--by', 'drops', '--json');
    expect(JSON.parse(slow.stdout).clients).toMatchObject([{ clientId: 'slow-kept', dropped: 1 }]);
    const { stdout } = await longline(running, 'slow');
    expect(stdout).toMatch(/^bytes waiting .*\n +[1-9]\d* .* slow-kept +edge-/);
    expect(device.isOpen).toBe(true);
    device.response.resume();
    await device.until(written + 2);
    expect(device.ids).toEqual([kept.messageId, after.messageId]);
    expect((await client.push('slow-kept', 'again')).verdict).toBe('WRITTEN');
    const api = controlApi(running.cluster.controlUrl);
    const { clients } = await api.slowClients({ by: 'unconfirmed', limit: 100 });
    expect(clients.find(({ clientId }) => clientId === 'slow-kept')?.unconfirmed).toBe(3);
  });

  test('that asks for nothing ends its connection, and one to its group that asks does not', async () => {
    const { device } = await fill('slow-cut');
    await client.joinGroup('slow', 'slow-cut');
    const toGroup = async (options: object) =>
      (await client.pushGroup('slow', LARGE, options)).counts;
    expect(await toGroup(DROP)).toEqual([{ verdict: Verdict.VERDICT_DROPPED, count: 1 }]);
    expect(await toGroup(KEEP)).toEqual([{ verdict: Verdict.VERDICT_STORED, count: 1 }]);
    expect(device.isOpen).toBe(true);
    expect((await client.push('slow-cut', LARGE, LIVE)).verdict).toBe('SLOW');
    device.response.resume();
    await device.ended;
  });
});

import { createServer } from 'node:net';
import { credentials } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { GrpcLink, LINK_OPTIONS } from '../../../common/process/grpc-link.js';
import { AssignmentServiceClient } from '../../../proto/gen/longline/v1/assignment.js';
import { EdgeSessionServiceClient, Hello } from '../../../proto/gen/longline/v1/edge_session.js';
import { FakeControl } from '../../support/cluster/fake-control.js';
import { eventually } from '../../support/eventually.js';

let control: FakeControl;
const closing: { close(): unknown }[] = [];

beforeEach(async () => {
  control = await FakeControl.start();
});
afterEach(() => {
  for (const each of closing.splice(0)) each.close();
  control.stop();
});

function linkTo(...addresses: string[]) {
  const link = new GrpcLink(
    'control',
    addresses.map(
      (address) => new AssignmentServiceClient(address, credentials.createInsecure(), LINK_OPTIONS),
    ),
    (client) => client.watch({ have: undefined, acceptsDeltas: false }),
    () => {},
    pino({ level: 'silent' }),
  );
  closing.push(link);
  return link;
}

test('skips an address without a listener', async () => {
  const link = linkTo('127.0.0.1:1', control.address);
  await eventually(() => link.isUp);
});

test('does not use an HTTP proxy of the environment', async () => {
  let proxied = 0;
  const proxy = createServer((socket) => {
    proxied++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  closing.push(proxy);
  const { port } = proxy.address() as { port: number };
  for (const name of ['http_proxy', 'https_proxy', 'grpc_proxy']) {
    process.env[name] = `http://127.0.0.1:${port}`;
    closing.push({ close: () => delete process.env[name] });
  }
  const link = linkTo(control.address);
  await eventually(() => link.isUp);
  expect(proxied).toBe(0);
});

test('skips a peer that accepts the connection but sends nothing', async () => {
  const stalled = createServer((socket) => {
    socket.on('error', () => {});
    closing.push({ close: () => socket.destroy() });
  });
  await new Promise<void>((resolve) => stalled.listen(0, '127.0.0.1', resolve));
  closing.push(stalled);
  const { port } = stalled.address() as { port: number };
  const link = linkTo(`127.0.0.1:${port}`, control.address);
  await eventually(() => link.isUp);
});

test('finds the leader among several controls with one name', async () => {
  const follower = await FakeControl.start();
  closing.push({ close: () => follower.stop() });
  follower.isLeader = false;
  const addresses = `ipv4:${follower.address},${control.address}`;
  const client = new EdgeSessionServiceClient(
    addresses,
    credentials.createInsecure(),
    LINK_OPTIONS,
  );
  const open = () => {
    const stream = client.session();
    const hello = Hello.fromPartial({ edgeId: 'edge-1' });
    stream.write({ body: { $case: 'hello', value: hello } });
    return stream;
  };
  const link = new GrpcLink('control', [client], open, () => {}, pino({ level: 'silent' }));
  closing.push(link);
  await eventually(() => link.isUp);
  expect([...control.sessions.keys()]).toEqual(['edge-1']);
});

test('the accept timeout does not end a link that is up', async () => {
  const link = linkTo(control.address);
  await eventually(() => link.isUp);
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  expect(link.isUp).toBe(true);
});

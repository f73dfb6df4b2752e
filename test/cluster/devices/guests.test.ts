/**
 * Goal: an edge serves devices of other edges' shards that cannot follow redirects, but limits the
 * number of such shards, so that not every edge subscribes to every shard. Method: two edges that
 * accept the guests of one shard each; MQTT devices and WebSockets at the edge that does not own
 * their shards.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { shardOf } from '../../../common/cluster/shard.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { eventually } from '../../support/eventually.js';

const NOT_OWNED = 'longline_edge_shards_not_owned';
const REJECTED = 'longline_edge_requests_rejected_total';
const UPGRADE =
  'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

let running: RunningCluster;
let port: number;
/** A device of edge-2, another one of the same shard, and one of another shard of edge-2. */
let guest: string;
let neighbour: string;
let stranger: string;

beforeAll(async () => {
  running = await RunningCluster.start({ edges: 2, env: { LONGLINE_EDGE_GUEST_SHARDS_MAX: '1' } });
  port = Number(new URL(running.cluster.edgeUrl('edge-1')).port);
  await running.stopMoves();
  const { length: shardCount } = await running.shards();
  const shardOfClient = (clientId: string) => shardOf(clientId, shardCount);
  [guest = '', stranger = ''] = await running.clientIdsOf('edge-2', 2);
  for (let i = 0; !neighbour; i++) {
    if (shardOfClient(`neighbour-${i}`) === shardOfClient(guest)) neighbour = `neighbour-${i}`;
  }
});

afterAll(() => running?.stop());

async function request(clientId: string, headers = ''): Promise<RawSocket> {
  const socket = await RawSocket.connect(port);
  await socket.send(`GET /connect?clientId=${clientId} HTTP/1.1\r\nHost: e\r\n${headers}\r\n`);
  await eventually(() => socket.status !== undefined);
  return socket;
}

test('guests are served up to the limit of shards, guests of a further shard are rejected', async () => {
  const device = await MqttDevice.connect(port, guest);
  await device.subscribe(`push/${guest}`);
  expect(await running.metric('edge-1', NOT_OWNED)).toBe(1);
  await running.untilCaughtUp();
  expect(await running.push.push(guest, 'to a guest')).toMatchObject({ verdict: 'WRITTEN' });

  const rejected = await request(stranger, UPGRADE);
  expect([rejected.status, rejected.code]).toEqual([503, 'GUESTS_FULL']);
  expect(rejected.text).toContain('\r\nRetry-After: ');
  await expect(MqttDevice.connect(port, stranger)).rejects.toThrow();
  expect(await running.metric('edge-1', REJECTED, { code: 'GUESTS_FULL' })).toBe(2);

  // A guest of the same shard, a device that follows redirects, and one whose shard edge-1 owns.
  const further = await request(neighbour, UPGRADE);
  const redirected = await request(stranger);
  const owned = await request(await running.clientIdOf('edge-1'), UPGRADE);
  expect([further.status, redirected.status, owned.status]).toEqual([101, 307, 101]);

  for (const socket of [further, redirected, owned]) socket.close();
  await device.close();
  await eventually(async () => (await running.metric('edge-1', NOT_OWNED)) === 0);
  const next = await request(stranger, UPGRADE);
  expect(next.status).toBe(101);
  next.close();
});

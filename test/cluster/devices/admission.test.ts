/**
 * Goal: when more devices connect than an edge admits, resuming devices are admitted first, every
 * pending device is admitted in the end, and a rejected device gets a Retry-After.
 * Method: one edge with a low handshake rate, and more devices at once than may be pending.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { eventually } from '../../support/eventually.js';
import { TLS_RUN } from '../../support/tls/tls-run.js';

const PENDING_MAX = 40;
const PER_PREFIX_MAX = 150;
let running: RunningCluster;
let port: number;

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: 1,
    env: {
      // So slowly that half of the room stays taken while the test looks at it.
      LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX: '4',
      LONGLINE_EDGE_HANDSHAKES_PENDING_MAX: `${PENDING_MAX}`,
      LONGLINE_EDGE_CONNECTIONS_PER_PREFIX_MAX: `${PER_PREFIX_MAX}`,
    },
  });
  port = Number(new URL(running.cluster.edgeUrl('edge-1')).port);
});

afterAll(() => running?.stop());

test('resuming devices are admitted first, new ones are rejected when too many are pending', async () => {
  const dial = async (clientId: string, cursor: string) => {
    const socket = await RawSocket.connect(port);
    const target = `/connect?clientId=${clientId}&lastEventId=${cursor}`;
    return { socket, target };
  };
  const names = Array.from({ length: PENDING_MAX }, (_, i) => i);
  const resuming = await Promise.all(names.map((i) => dial(`back-${i}`, '1-0')));
  const others = await Promise.all(names.map((i) => dial(`new-${i}`, '')));
  const sendRequests = (all: typeof others) =>
    Promise.all(
      all.map(({ socket, target }) => socket.send(`GET ${target} HTTP/1.1\r\nHost: e\r\n\r\n`)),
    );
  await sendRequests(resuming.slice(0, PENDING_MAX / 2 + 15));
  await eventually(async () => {
    const pending = await running.metric('edge-1', 'longline_edge_handshakes_pending');
    expect(pending).toBeGreaterThanOrEqual(PENDING_MAX / 2);
  });
  await sendRequests(others);
  await Promise.all(others.map(({ socket }) => socket.untilEnded()));
  for (const { socket } of others) {
    expect([socket.status, socket.code]).toEqual([503, 'OVERLOADED']);
    expect(socket.text).toMatch(/\r\nRetry-After: ([1-9]|10)\r\n/);
  }
  await sendRequests(resuming.slice(PENDING_MAX / 2 + 15));
  await eventually(() => resuming.every(({ socket }) => socket.status === 200));
  for (const { socket } of [...resuming, ...others]) socket.close();
});

test('a thousand connections from one address leave slots for others, and free their own', async () => {
  const count = 1_000;
  const crowd = await Promise.all(
    Array.from({ length: count }, () => RawSocket.connect(port, '127.0.0.9')),
  );
  const open = () => crowd.filter(({ isEnded }) => !isEnded);
  await eventually(() => expect(open()).toHaveLength(PER_PREFIX_MAX));
  const overLimit = crowd.find(({ isEnded }) => isEnded)!;
  // Before a handshake of TLS, there is no way to say it.
  const answer = TLS_RUN ? [undefined, undefined] : [429, 'PREFIX_FULL'];
  expect([overLimit.status, overLimit.code]).toEqual(answer);
  const rejected = { code: 'PREFIX_FULL' };
  await eventually(async () => {
    const metric = 'longline_edge_requests_rejected_total';
    expect(await running.metric('edge-1', metric, rejected)).toBe(count - PER_PREFIX_MAX);
  });

  const other = await RawSocket.connect(port, '127.0.0.10');
  await other.send('GET /connect?clientId=other HTTP/1.1\r\nHost: e\r\n\r\n');
  await eventually(() => expect(other.status).toBe(200));

  for (const socket of crowd) socket.close();
  await eventually(async () => {
    const back = await RawSocket.connect(port, '127.0.0.9');
    await back.send('GET /connect?clientId=back HTTP/1.1\r\nHost: e\r\n\r\n');
    await eventually(() => expect(back.status).toBe(200));
    back.close();
  });
  other.close();
});

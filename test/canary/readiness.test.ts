/** The canary as a process, where control answers and nothing else does. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, test } from '@jest/globals';
import { freePort } from '../../cli/local/ports.js';
import { type Role, startRole } from '../support/cluster/role.js';
import { eventually } from '../support/eventually.js';

const map = { edges: ['edge-1'], owners: [0, 0], masters: ['redis:6379'], masterOf: [0, 0] };

let control: Server;
let canary: Role | undefined;
/** Answer to the request for the shard map. */
let answer: string;

beforeEach(async () => {
  answer = JSON.stringify(map);
  control = createServer((request, response) => {
    response.end(request.url === '/v1/shard-map' ? answer : '{}');
  });
  await new Promise<void>((resolve) => {
    control.listen(0, '127.0.0.1', resolve);
  });
});

afterEach(async () => {
  await canary?.stop();
  control.closeAllConnections();
  control.close();
});

async function start(): Promise<() => Promise<{ status: number; reasons: string }>> {
  const port = await freePort();
  canary = await startRole('canary', {
    LONGLINE_CANARY_HTTP_PORT: '0',
    LONGLINE_CANARY_CONTROL_URL: `http://127.0.0.1:${(control.address() as AddressInfo).port}`,
    LONGLINE_CANARY_CONNECT_URL: `http://127.0.0.1:${port}`,
    LONGLINE_CANARY_PUSH_ADDRESS: `127.0.0.1:${port}`,
  });
  const url = `http://127.0.0.1:${canary.ports.http}/readyz`;
  return async () => {
    const response = await fetch(url);
    const { reasons } = (await response.json()) as { reasons: string[] };
    return { status: response.status, reasons: reasons.join('\n') };
  };
}

test('it is ready without routers, and says for each protocol why devices cannot connect', async () => {
  const ready = await start();
  await eventually(async () => {
    const { status, reasons } = await ready();
    return (
      status === 200 &&
      ['sse', 'websocket', 'mqtt'].every((each) => reasons.includes(`devices over ${each}: `)) &&
      /router 127\.0\.0\.1:\d+: .*ECONNREFUSED/.test(reasons)
    );
  });
});

test('it is not ready while control returns no map that it understands', async () => {
  answer = JSON.stringify({ ...map, owners: 'none' });
  const ready = await start();
  await eventually(async () => {
    const { status, reasons } = await ready();
    return status === 503 && reasons.includes('shard map: ');
  });
  answer = JSON.stringify(map);
  await eventually(async () => (await ready()).status === 200);
});

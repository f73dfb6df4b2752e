/**
 * Tests which of several Sentinels is trusted. The Sentinels are fakes that answer as real ones
 * do.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { endpointOf } from '../../../common/redis/connection.js';
import { findMaster } from '../../../common/redis/sentinel.js';

const servers: Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** Starts a Sentinel that names the master `host:port`. Returns its URL. */
async function startSentinel(host: string, configEpoch: number): Promise<string> {
  const array = (...texts: string[]) =>
    `*${texts.length}\r\n${texts.map((text) => `$${text.length}\r\n${text}\r\n`).join('')}`;
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      // Several commands may arrive at once; each is an array.
      for (const command of bytes
        .toString()
        .toLowerCase()
        .split(/(?=\*\d+\r\n)/)) {
        if (command.includes('hello')) socket.write('-NOPROTO unsupported protocol version\r\n');
        else if (command.includes('get-master-addr-by-name')) socket.write(array(host, '6379'));
        else if (command.includes('sentinel')) {
          socket.write(array('name', 'push', 'config-epoch', `${configEpoch}`, 'quorum', '2'));
        } else socket.write('+OK\r\n');
      }
    });
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function masterAccordingTo(urls: string[]): Promise<string> {
  const result = await findMaster(
    urls.map((url) => endpointOf(url)),
    'push',
    'test',
  );
  return result.type === 'done' ? result.value.host : result.reason;
}

test('the newest configuration counts, in any order', async () => {
  const stale = await startSentinel('former-master', 3);
  const newest = await startSentinel('master', 4);
  expect(await masterAccordingTo([stale, newest])).toBe('master');
  expect(await masterAccordingTo([newest, stale])).toBe('master');
});

test('a Sentinel that cannot be reached does not count', async () => {
  const only = await startSentinel('master', 1);
  expect(await masterAccordingTo(['redis://127.0.0.1:1', only])).toBe('master');
});

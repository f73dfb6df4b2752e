/** A look-up ends when it should, also when garbage is collected meanwhile. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { lookUpEdge } from '../../canary/devices/lookup.js';
import { collectGarbage } from '../../common/process/memory/collect-garbage.js';

let server: Server;
let collecting: NodeJS.Timeout;

/** A router that answers with a head only. */
beforeEach(async () => {
  server = createServer((_, response) => response.writeHead(200).flushHeaders());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  collecting = setInterval(collectGarbage, 20);
});

afterEach(() => {
  clearInterval(collecting);
  server.closeAllConnections();
  server.close();
});

function lookUp(signal: AbortSignal, answerMsMax: number): Promise<URL> {
  const { port } = server.address() as AddressInfo;
  return lookUpEdge(new URL(`http://127.0.0.1:${port}/connect`), undefined, signal, answerMsMax);
}

test('it ends after its time', async () => {
  await expect(lookUp(new AbortController().signal, 300)).rejects.toThrow('no answer in time');
});

test('it ends when its link ends', async () => {
  const ended = new AbortController();
  setTimeout(() => ended.abort(new Error('ended')), 300);
  await expect(lookUp(ended.signal, 60_000)).rejects.toThrow('ended');
});

/**
 * Set-up that the tests of TLS share: an authority, a cluster behind a proxy, and devices that
 * receive.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { afterAll, beforeAll, expect } from '@jest/globals';
import { connectAsync } from 'mqtt';
import WebSocket from 'ws';
import { Authority, type CertificateFiles } from '../certificates.js';
import { RunningCluster } from '../cluster/running-cluster.js';
import { eventually } from '../eventually.js';
import { documentedBlock, startServer } from './documented-servers.js';

/** A client certificate and its key. */
export interface ClientPair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

export class TlsFixture {
  authority!: Authority;
  /** The certificate of the authority, which devices trust. */
  ca!: Buffer;
  /** The certificate of all servers. */
  files!: CertificateFiles;
  /** A cluster behind a proxy, without TLS. */
  proxied!: RunningCluster;
  /**
   * Clusters that end TLS, by each port at which devices reach them. Other ports lead to `proxied`.
   */
  readonly clusters = new Map<number, RunningCluster>();
  /** Processes to kill after the tests. */
  readonly children: ChildProcess[] = [];

  async start(): Promise<void> {
    this.authority = new Authority();
    this.ca = readFileSync(this.authority.ca);
    this.files = this.authority.issue('push');
    this.proxied = await RunningCluster.start({
      edges: 1,
      env: { LONGLINE_PROXY_NETWORKS: '127.0.0.1/32', LONGLINE_SHARD_COUNT: '64' },
    });
  }

  async stop(): Promise<void> {
    for (const child of this.children) child.kill('SIGKILL');
    await this.proxied?.stop();
  }

  /** Connects with server-sent events and pushes until the text arrives. */
  async receiveOverSse(
    port: number,
    clientId: string,
    text: string,
    pair: Partial<ClientPair> = {},
  ): Promise<void> {
    const headers = { 'accept-encoding': 'gzip' };
    const path = `/connect?clientId=${clientId}`;
    const call = request({ host: 'localhost', port, ca: this.ca, path, headers, ...pair });
    call.end();
    const [response] = (await once(call, 'response')) as [IncomingMessage];
    expect(response.statusCode).toBe(200);
    let received = '';
    const isCompressed = response.headers['content-encoding'] === 'gzip';
    const body = isCompressed ? response.pipe(createGunzip()) : response;
    body.on('data', (bytes) => {
      received += bytes;
    });
    for (const stream of [response, body]) stream.on('error', () => {});
    await eventually(async () => {
      await this.#clusterAt(port).push.push(clientId, text);
      return received.includes(text);
    });
    call.destroy();
  }

  async receiveOverWebSocket(
    port: number,
    clientId: string,
    pair: Partial<ClientPair> = {},
  ): Promise<void> {
    const socket = await this.#openWebSocket(port, clientId, pair);
    const message = once(socket, 'message');
    await this.#clusterAt(port).push.push(clientId, 'over a WebSocket');
    expect(String((await message)[0])).toBe('over a WebSocket');
    socket.terminate();
  }

  async receiveOverMqtt(
    port: number,
    clientId: string,
    pair: Partial<ClientPair> = {},
  ): Promise<void> {
    const options = { clientId, ca: this.ca, ...pair };
    const client = await connectAsync(`mqtts://localhost:${port}`, options, false);
    await client.subscribeAsync('#', { qos: 1 });
    const message = new Promise<Buffer>((resolve) =>
      client.once('message', (_topic, payload) => resolve(payload)),
    );
    await this.#clusterAt(port).push.push(clientId, 'over MQTT');
    expect(String(await message)).toBe('over MQTT');
    await client.endAsync(true);
  }

  /** Starts HAProxy with the configuration of docs/security.md, in which texts are replaced. */
  async startHaProxy(port: number, replaced: Readonly<Record<string, string>>): Promise<void> {
    let config = documentedBlock('defaults\n');
    for (const [text, by] of Object.entries(replaced)) config = config.replace(text, by);
    const path = join(mkdtempSync(join(tmpdir(), 'longline-haproxy-')), 'haproxy.cfg');
    writeFileSync(path, config);
    await startServer(this.children, this.ca, 'haproxy', ['-db', '-f', path], port);
  }

  /** Connects a device through a proxy: the cluster must know the address of the device. */
  async expectOwnAddress(
    port: number,
    clientId: string,
    pair: Partial<ClientPair> = {},
  ): Promise<void> {
    const socket = await this.#openWebSocket(port, clientId, pair);
    // The types of `ws` do not include its socket.
    const { localPort } = (socket as unknown as { _socket: { localPort: number } })._socket;
    const { connections } = await this.#clusterAt(port).push.presence(clientId);
    expect(connections[0]!.remoteAddress).toBe(`127.0.0.1:${localPort}`);
    socket.terminate();
  }

  async #openWebSocket(
    port: number,
    clientId: string,
    pair: Partial<ClientPair>,
  ): Promise<WebSocket> {
    const url = `wss://localhost:${port}/connect?clientId=${clientId}`;
    const socket = new WebSocket(url, { ca: this.ca, ...pair });
    await once(socket, 'open');
    return socket;
  }

  #clusterAt(port: number): RunningCluster {
    return this.clusters.get(port) ?? this.proxied;
  }
}

/** Starts the set-up before the tests of a file, and stops it after them. */
export function useTls(): TlsFixture {
  const fixture = new TlsFixture();
  beforeAll(() => fixture.start());
  afterAll(() => fixture.stop());
  return fixture;
}

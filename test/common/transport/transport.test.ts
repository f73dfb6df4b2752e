/** The contract of `common/transport/transport.ts`, kept by every implementation. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { NativeTransport, notNativeBecause } from '../../../common/transport/native-transport.js';
import { NetTransport } from '../../../common/transport/net-transport.js';
import {
  type CloseCause,
  type Connection,
  slotOf,
  TIMER_GRAIN_MS,
  type Transport,
  type TransportEvents,
  type TransportLimits,
  WRITE_RESULTS,
} from '../../../common/transport/transport.js';
import { eventually } from '../../support/eventually.js';

type Implementation = new (events: TransportEvents, limits: TransportLimits) => Transport;

const LIMITS = { connectionsMax: 5, sendBufferBytesMax: 64 * 1024 };

/** Writes down what the transport says. */
class Recorder implements TransportEvents {
  readonly opened: Connection[] = [];
  readonly received = new Map<Connection, string>();
  readonly ended: Connection[] = [];
  readonly closed = new Map<Connection, CloseCause>();
  readonly timedOut: Connection[] = [];
  turnedAway = 0;

  onOpen(connection: Connection): void {
    this.opened.push(connection);
  }
  onBytes(connection: Connection, bytes: Buffer): void {
    this.received.set(connection, (this.received.get(connection) ?? '') + bytes.toString());
  }
  onEnd(connection: Connection): void {
    this.ended.push(connection);
  }
  onClose(connection: Connection, cause: CloseCause): void {
    expect(this.closed.has(connection)).toBe(false);
    this.closed.set(connection, cause);
  }
  onTurnedAway(): void {
    this.turnedAway++;
  }
  onTimer(connection: Connection): void {
    this.timedOut.push(connection);
  }
}

const implementations: [string, Implementation][] = [['net', NetTransport]];
if (notNativeBecause() === undefined) implementations.push(['native', NativeTransport]);

describe.each(implementations)('the %s transport', (_name, TransportUnderTest) => {
  let events: Recorder;
  let transport: Transport;
  let port: number;
  let peers: Socket[];

  beforeEach(async () => {
    events = new Recorder();
    peers = [];
    transport = new TransportUnderTest(events, LIMITS);
    port = await transport.listen('127.0.0.1', 0);
  });

  afterEach(async () => {
    for (const peer of peers) peer.destroy();
    await transport.close();
  });

  async function open(): Promise<{ peer: Socket; connection: Connection }> {
    const opened = events.opened.length;
    const peer = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    peer.on('error', () => {});
    peers.push(peer);
    await once(peer, 'connect');
    await eventually(() => expect(events.opened).toHaveLength(opened + 1));
    return { peer, connection: events.opened[opened]! };
  }

  test('carries bytes both ways and knows the peer', async () => {
    const { peer, connection } = await open();
    peer.write('hello');
    await eventually(() => expect(events.received.get(connection)).toBe('hello'));
    expect(transport.write(connection, Buffer.from('world'))).toBe('accepted');
    const [bytes] = await once(peer, 'data');
    expect(String(bytes)).toBe('world');
    expect(transport.remoteAddress(connection)).toBe(`127.0.0.1:${peer.localPort}`);
  });

  test('a FIN of the peer is said, and it can still be written to', async () => {
    const { peer, connection } = await open();
    peer.end('last words');
    await eventually(() => expect(events.ended).toEqual([connection]));
    expect(events.received.get(connection)).toBe('last words');
    expect(transport.write(connection, Buffer.from('answer'))).toBe('accepted');
    const [bytes] = await once(peer, 'data');
    expect(String(bytes)).toBe('answer');
    transport.end(connection);
    await eventually(() => expect(events.closed.get(connection)).toBe('local'));
  });

  test('a reset of the peer closes with cause peer, once', async () => {
    const { peer, connection } = await open();
    peer.resetAndDestroy();
    await eventually(() => expect(events.closed.get(connection)).toBe('peer'));
    expect(transport.write(connection, Buffer.from('x'))).toBe('gone');
    expect(transport.bufferedBytes(connection)).toBe(0);
    expect(transport.remoteAddress(connection)).toBeUndefined();
  });

  test('destroy resets the peer', async () => {
    const { peer, connection } = await open();
    const failed = once(peer, 'error');
    transport.destroy(connection);
    expect((await failed)[0]).toMatchObject({ code: 'ECONNRESET' });
    expect(events.closed.get(connection)).toBe('local');
  });

  test('end delivers what was written to a peer that goes on sending, and says nothing more', async () => {
    const { peer, connection } = await open();
    let received = 0;
    peer.on('data', (bytes) => {
      received += bytes.length;
    });
    const noise = setInterval(() => peer.write('noise'), 1);
    transport.write(connection, Buffer.alloc(1 << 20));
    transport.end(connection);
    expect(transport.write(connection, Buffer.from('late'))).toBe('gone');
    await once(peer, 'end');
    clearInterval(noise);
    peer.end();
    expect(received).toBe(1 << 20);
    await eventually(() => expect(events.closed.get(connection)).toBe('local'));
    expect(events.received.get(connection)).toBeUndefined();
    expect(events.ended).toEqual([]);
  });

  test('end cuts a peer that does not close', async () => {
    const { connection } = await open();
    transport.end(connection);
    await eventually(() => expect(events.closed.get(connection)).toBe('local'));
  });

  test('takes any one write to an empty buffer, and refuses what would pass the bound', async () => {
    const { peer, connection } = await open();
    peer.pause();
    // More than the kernel takes for a peer that does not read.
    expect(transport.write(connection, Buffer.alloc(32 << 20))).toBe('accepted');
    await eventually(() => expect(transport.bufferedBytes(connection)).toBeGreaterThan(0));
    expect(transport.write(connection, Buffer.from('x'))).toBe('full');
    const buffered = transport.bufferedBytes(connection);
    transport.write(connection, Buffer.alloc(LIMITS.sendBufferBytesMax));
    expect(transport.bufferedBytes(connection)).toBe(buffered);
    peer.resume();
    await eventually(() => expect(transport.bufferedBytes(connection)).toBe(0));
    expect(transport.write(connection, Buffer.from('x'))).toBe('accepted');
  });

  test('a slot is used again, a connection never', async () => {
    const first = await open();
    first.peer.resetAndDestroy();
    await eventually(() => expect(events.closed.has(first.connection)).toBe(true));
    const second = await open();
    expect(slotOf(second.connection)).toBe(slotOf(first.connection));
    expect(second.connection).not.toBe(first.connection);
    transport.destroy(first.connection);
    transport.end(first.connection);
    expect(transport.write(first.connection, Buffer.from('x'))).toBe('gone');
    expect(transport.write(second.connection, Buffer.from('x'))).toBe('accepted');
  });

  test('turns away what is over the bound and keeps what it holds', async () => {
    const held = [];
    for (let i = 0; i < LIMITS.connectionsMax; i++) held.push(await open());
    const surplus = connect(port, '127.0.0.1');
    surplus.on('error', () => {});
    await once(surplus, 'close');
    expect(events.turnedAway).toBe(1);
    expect(events.opened).toHaveLength(LIMITS.connectionsMax);
    for (const { connection } of held) {
      expect(transport.write(connection, Buffer.from('x'))).toBe('accepted');
    }
    held[0]!.peer.resetAndDestroy();
    await eventually(() => expect(events.closed.size).toBe(1));
    await open();
  });

  test('rejects when the port is taken', async () => {
    const other = new TransportUnderTest(new Recorder(), LIMITS);
    await expect(other.listen('127.0.0.1', port)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });

  test('close closes what is held', async () => {
    const { peer, connection } = await open();
    const end = once(peer, 'end');
    await transport.close();
    await end;
    expect(events.closed.has(connection)).toBe(true);
  });

  test('a call into a callback of one connection may end others of the same batch', async () => {
    const held: Awaited<ReturnType<typeof open>>[] = [];
    for (let i = 0; i < LIMITS.connectionsMax; i++) held.push(await open());
    const told: Connection[] = [];
    events.onBytes = (connection) => {
      told.push(connection);
      for (const each of held)
        if (each.connection !== connection) transport.destroy(each.connection);
    };
    for (const { peer } of held) peer.write('all at once');
    await eventually(() => expect(events.closed.size).toBe(LIMITS.connectionsMax - 1));
    expect(told).toHaveLength(1);
    expect(transport.write(told[0]!, Buffer.from('x'))).toBe('accepted');
  });

  test('writes one payload to many and says of each what became of it', async () => {
    const [reader, gone, stuck] = [await open(), await open(), await open()];
    gone.peer.resetAndDestroy();
    await eventually(() => expect(events.closed.has(gone.connection)).toBe(true));
    stuck.peer.pause();
    transport.write(stuck.connection, Buffer.alloc(32 << 20));
    const connections = Float64Array.of(reader.connection, gone.connection, stuck.connection, 0);
    const results = new Uint8Array(4).fill(9);
    const received = once(reader.peer, 'data');
    transport.writeMany(connections, 3, Buffer.from('to all'), results);
    expect([...results.subarray(0, 3)].map((result) => WRITE_RESULTS[result])).toEqual([
      'accepted',
      'gone',
      'full',
    ]);
    expect(results[3]).toBe(9);
    expect(String((await received)[0])).toBe('to all');
  });

  test('what is written in pieces arrives whole and in order, however slowly it is read', async () => {
    const { peer, connection } = await open();
    peer.pause();
    let expected = '';
    for (let i = 0; ; i++) {
      const piece = `${i} `.repeat(3_000);
      if (transport.write(connection, Buffer.from(piece)) === 'full') break;
      expected += piece;
    }
    let received = '';
    peer.setEncoding('latin1').on('data', (text) => {
      received += text;
    });
    peer.resume();
    await eventually(() => expect(received.length).toBe(expected.length));
    expect(received === expected).toBe(true);
  });

  test('a peer that floods does not keep others from being heard', async () => {
    const [flooding, quiet] = [await open(), await open()];
    const noise = setInterval(() => {
      if (flooding.peer.writableLength < 1 << 22) flooding.peer.write(Buffer.alloc(1 << 20, 'x'));
    }, 1);
    for (let i = 1; i <= 50; i++) {
      quiet.peer.write('q');
      await eventually(() => expect(events.received.get(quiet.connection)).toHaveLength(i), 2_000);
    }
    clearInterval(noise);
  });

  test('a timer runs out once, not early, and at most a grain late', async () => {
    const { connection } = await open();
    const stopped = (await open()).connection;
    transport.setTimer(connection, 10_000);
    transport.setTimer(connection, 300);
    transport.setTimer(stopped, 300);
    transport.setTimer(stopped, 0);
    const sinceMs = performance.now();
    await eventually(() => expect(events.timedOut).toEqual([connection]));
    const tookMs = performance.now() - sinceMs;
    expect(tookMs).toBeGreaterThanOrEqual(299);
    // As late again, for a machine that is busy.
    expect(tookMs).toBeLessThan(300 + 2 * TIMER_GRAIN_MS);
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(events.timedOut).toEqual([connection]);
  });

  test('the timer of a connection that is gone is gone', async () => {
    const { peer, connection } = await open();
    transport.setTimer(connection, 250);
    peer.resetAndDestroy();
    await eventually(() => expect(events.closed.has(connection)).toBe(true));
    transport.setTimer(connection, 250);
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect(events.timedOut).toEqual([]);
  });

  test('connects from an address of its choice, and carries bytes both ways', async () => {
    const ours = transport.connect('127.0.0.1', port, '127.0.9.9')!;
    await eventually(() => expect(events.opened).toHaveLength(2));
    const theirs = events.opened.find((connection) => connection !== ours)!;
    expect(transport.remoteAddress(theirs)).toMatch(/^127\.0\.9\.9:/);
    expect(transport.remoteAddress(ours)).toBe(`127.0.0.1:${port}`);
    transport.write(ours, Buffer.from('ping'));
    await eventually(() => expect(events.received.get(theirs)).toBe('ping'));
    transport.write(theirs, Buffer.from('pong'));
    await eventually(() => expect(events.received.get(ours)).toBe('pong'));
    transport.end(ours);
    await eventually(() => expect(events.ended).toEqual([theirs]));
    transport.end(theirs);
    await eventually(() => expect(events.closed.size).toBe(2));
  });

  test('a connection that is refused closes with cause error, without having opened', async () => {
    const connection = transport.connect('127.0.0.1', 1, '')!;
    expect(transport.write(connection, Buffer.from('x'))).toBe('gone');
    await eventually(() => expect(events.closed.get(connection)).toBe('error'));
    expect(events.opened).toEqual([]);
  });

  test('connects no more than the bound', async () => {
    for (let i = 0; i < LIMITS.connectionsMax; i++) await open();
    expect(transport.connect('127.0.0.1', port, '')).toBeUndefined();
  });
});

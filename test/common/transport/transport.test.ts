/** The contract of `common/transport/transport.ts`, tested with every implementation. */
import { createHash, type Hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  NativeTransport,
  nativeUnavailableReason,
} from '../../../common/transport/native-transport.js';
import { NetTransport } from '../../../common/transport/net-transport.js';
import {
  type CloseCause,
  type Connection,
  slotOf,
  TIMER_RESOLUTION_MS,
  type Transport,
  type TransportEvents,
  type TransportLimits,
  WRITE_RESULTS,
} from '../../../common/transport/transport.js';
import { eventually } from '../../support/eventually.js';
import { linkLocalAddress, testIpv6 } from '../../support/ipv6.js';

type Implementation = new (events: TransportEvents, limits: TransportLimits) => Transport;

const LIMITS = { connectionsMax: 5, sendBufferBytesMax: 64 * 1024 };

/** Records the events of a transport. */
class Recorder implements TransportEvents {
  readonly opened: Connection[] = [];
  readonly received = new Map<Connection, string>();
  readonly ended: Connection[] = [];
  readonly closed = new Map<Connection, CloseCause>();
  readonly timedOut: Connection[] = [];
  overLimit = 0;

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
  onOverLimit(): void {
    this.overLimit++;
  }
  onTimer(connection: Connection): void {
    this.timedOut.push(connection);
  }
}

const implementations: [string, Implementation][] = [['net', NetTransport]];
if (nativeUnavailableReason() === undefined) implementations.push(['native', NativeTransport]);

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

  test('carries bytes both ways, and reports the address of the peer', async () => {
    const { peer, connection } = await open();
    peer.write('hello');
    await eventually(() => expect(events.received.get(connection)).toBe('hello'));
    expect(transport.write(connection, Buffer.from('world'))).toBe('accepted');
    const [bytes] = await once(peer, 'data');
    expect(String(bytes)).toBe('world');
    expect(transport.remoteAddress(connection)).toBe(`127.0.0.1:${peer.localPort}`);
  });

  const linkLocal = linkLocalAddress();
  testIpv6.each([
    ['::1', '::1', '[::1]'],
    ['::', '::1', '[::1]'],
    ['::', '127.0.0.1', '127.0.0.1'],
    ...(linkLocal === undefined ? [] : [['::', linkLocal, `[${linkLocal.split('%')[0]}]`]]),
  ])('listens on %s, and calls the peer %s %s', async (host, peerHost, address) => {
    const dual = new TransportUnderTest(events, LIMITS);
    const peer = connect(await dual.listen(host!, 0), peerHost!);
    peers.push(peer);
    await once(peer, 'connect');
    await eventually(() => expect(events.opened).toHaveLength(1));
    expect(dual.remoteAddress(events.opened[0]!)).toBe(`${address}:${peer.localPort}`);
    await dual.close();
  });

  testIpv6('connects from an IPv6 address', async () => {
    const ipv6 = new TransportUnderTest(events, LIMITS);
    const listening = await ipv6.listen('::1', 0);
    const ours = ipv6.connect('::1', listening, '::1')!;
    await eventually(() => expect(events.opened).toHaveLength(2));
    expect(ipv6.remoteAddress(ours)).toBe(`[::1]:${listening}`);
    await ipv6.close();
  });

  test('reports a FIN of the peer, and can still write to it', async () => {
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

  test('end delivers all written bytes to a peer that keeps sending, without further events', async () => {
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

  test('end closes a connection whose peer does not close', async () => {
    const { connection } = await open();
    transport.end(connection);
    await eventually(() => expect(events.closed.get(connection)).toBe('local'));
  });

  test('accepts any write to an empty buffer, and rejects one beyond the limit', async () => {
    const { peer, connection } = await open();
    peer.pause();
    // More than the kernel buffers for a peer that does not read.
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

  test('reuses a slot, but never a connection number', async () => {
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

  test('closes new connections over the limit, and keeps the open ones', async () => {
    const connections = [];
    for (let i = 0; i < LIMITS.connectionsMax; i++) connections.push(await open());
    const surplus = connect(port, '127.0.0.1');
    surplus.on('error', () => {});
    await once(surplus, 'close');
    expect(events.overLimit).toBe(1);
    expect(events.opened).toHaveLength(LIMITS.connectionsMax);
    for (const { connection } of connections) {
      expect(transport.write(connection, Buffer.from('x'))).toBe('accepted');
    }
    connections[0]!.peer.resetAndDestroy();
    await eventually(() => expect(events.closed.size).toBe(1));
    await open();
  });

  test('rejects if the port is in use', async () => {
    const other = new TransportUnderTest(new Recorder(), LIMITS);
    await expect(other.listen('127.0.0.1', port)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });

  test('close closes open connections', async () => {
    const { peer, connection } = await open();
    const end = once(peer, 'end');
    await transport.close();
    await end;
    expect(events.closed.has(connection)).toBe(true);
  });

  test('a callback may close other connections with events in the same batch', async () => {
    const connections: Awaited<ReturnType<typeof open>>[] = [];
    for (let i = 0; i < LIMITS.connectionsMax; i++) connections.push(await open());
    const reported: Connection[] = [];
    events.onBytes = (connection) => {
      reported.push(connection);
      for (const each of connections)
        if (each.connection !== connection) transport.destroy(each.connection);
    };
    for (const { peer } of connections) peer.write('all at once');
    await eventually(() => expect(events.closed.size).toBe(LIMITS.connectionsMax - 1));
    expect(reported).toHaveLength(1);
    expect(transport.write(reported[0]!, Buffer.from('x'))).toBe('accepted');
  });

  test('writeMany writes one payload to many connections, with a result for each', async () => {
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

  test('a slow reader receives all writes in order', async () => {
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

  test('a peer that floods does not starve others', async () => {
    const [flooding, quiet] = [await open(), await open()];
    const noise = setInterval(() => {
      if (flooding.peer.writableLength < 1 << 22) flooding.peer.write(Buffer.alloc(1 << 20, 'x'));
    }, 1);
    for (let i = 1; i <= 50; i++) {
      quiet.peer.write('q');
      await eventually(() => expect(events.received.get(quiet.connection)).toHaveLength(i));
    }
    clearInterval(noise);
  });

  test('a timer expires once, not early, and at most its resolution late', async () => {
    const { connection } = await open();
    const stopped = (await open()).connection;
    transport.setTimer(connection, 10_000);
    transport.setTimer(connection, 300);
    transport.setTimer(stopped, 300);
    transport.setTimer(stopped, 0);
    const sinceMs = performance.now();
    // The resolution is that of an event loop that turns: a timer is late by what the loop stalls.
    let [stalledMs, turnedAtMs] = [0, sinceMs];
    const turns = setInterval(() => {
      const nowMs = performance.now();
      stalledMs += Math.max(0, nowMs - turnedAtMs - 20);
      turnedAtMs = nowMs;
    }, 10);
    await eventually(() => expect(events.timedOut).toEqual([connection]));
    clearInterval(turns);
    const tookMs = performance.now() - sinceMs;
    expect(tookMs).toBeGreaterThanOrEqual(299);
    expect(tookMs - stalledMs).toBeLessThan(300 + 2 * TIMER_RESOLUTION_MS);
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(events.timedOut).toEqual([connection]);
  });

  test('closing a connection stops its timer', async () => {
    const { peer, connection } = await open();
    transport.setTimer(connection, 250);
    peer.resetAndDestroy();
    await eventually(() => expect(events.closed.has(connection)).toBe(true));
    transport.setTimer(connection, 250);
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect(events.timedOut).toEqual([]);
  });

  test('connects from a given local address, and carries bytes both ways', async () => {
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

  test('a connect that fails closes with cause error, without onOpen', async () => {
    const connection = transport.connect('127.0.0.1', 1, '')!;
    expect(transport.write(connection, Buffer.from('x'))).toBe('gone');
    await eventually(() => expect(events.closed.get(connection)).toBe('error'));
    expect(events.opened).toEqual([]);
  });

  test('connect is limited by connectionsMax', async () => {
    for (let i = 0; i < LIMITS.connectionsMax; i++) await open();
    expect(transport.connect('127.0.0.1', port, '')).toBeUndefined();
  });

  describe('a pipe', () => {
    interface Pipe {
      readonly one: Awaited<ReturnType<typeof open>>;
      readonly other: Awaited<ReturnType<typeof open>>;
    }

    async function openPipe(): Promise<Pipe> {
      const [one, other] = [await open(), await open()];
      expect(transport.pipe(one.connection, other.connection)).toBe(true);
      return { one, other };
    }

    /** Counts and hashes the bytes that a peer receives. */
    function hashed(peer: Socket): { length: number; hash: Hash } {
      const got = { length: 0, hash: createHash('sha1') };
      peer.on('data', (bytes) => {
        got.length += bytes.length;
        got.hash.update(bytes);
      });
      return got;
    }

    /** Resolves when the send buffer of this connection has not been empty for 200 ms. */
    async function stalled(connection: Connection): Promise<void> {
      let polls = 0;
      await eventually(() => {
        polls = transport.bufferedBytes(connection) > 0 ? polls + 1 : 0;
        expect(polls).toBeGreaterThan(20);
      });
    }

    test('forwards bytes both ways without reporting them', async () => {
      const { one, other } = await openPipe();
      one.peer.write('to the other');
      expect(String((await once(other.peer, 'data'))[0])).toBe('to the other');
      other.peer.write('and back');
      expect(String((await once(one.peer, 'data'))[0])).toBe('and back');
      expect(events.received.size).toBe(0);
    });

    test('forwards bytes that arrived during a pause, and loses none before them', async () => {
      const [one, other] = [await open(), await open()];
      events.onBytes = (connection, bytes) => {
        transport.pause(connection);
        events.received.set(connection, bytes.toString());
      };
      one.peer.write('first');
      await eventually(() => expect(events.received.get(one.connection)).toBe('first'));
      one.peer.end('second');
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(events.received.get(one.connection)).toBe('first');
      expect(events.ended).toEqual([]);
      transport.write(other.connection, Buffer.from('first, '));
      transport.pipe(one.connection, other.connection);
      let received = '';
      other.peer.on('data', (bytes) => {
        received += bytes;
      });
      await once(other.peer, 'end');
      expect(received).toBe('first, second');
      expect(events.ended).toEqual([one.connection]);
    });

    test('forwards megabytes both ways at once, in order, to peers that read intermittently', async () => {
      const { one, other } = await openPipe();
      const payload = randomBytes(24 << 20);
      const [atOne, atOther] = [hashed(one.peer), hashed(other.peer)];
      const pauses = setInterval(() => {
        for (const { peer } of [one, other]) {
          if (Math.random() < 0.5) peer.pause();
          else peer.resume();
        }
      }, 2);
      one.peer.write(payload);
      other.peer.write(payload);
      await eventually(() => {
        expect(atOne.length).toBe(payload.length);
        expect(atOther.length).toBe(payload.length);
      });
      clearInterval(pauses);
      const expected = createHash('sha1').update(payload).digest('hex');
      expect(atOne.hash.digest('hex')).toBe(expected);
      expect(atOther.hash.digest('hex')).toBe(expected);
    });

    test.each([
      ['one', 'other'],
      ['other', 'one'],
    ] as const)('reads from %s only as fast as %s reads', async (from, to) => {
      const pipe = await openPipe();
      const [sender, reader] = [pipe[from], pipe[to]];
      reader.peer.pause();
      const payload = Buffer.alloc(64 << 20, 'x');
      sender.peer.write(payload);
      await stalled(reader.connection);
      expect(sender.peer.writableLength).toBeGreaterThan(0);
      expect(transport.bufferedBytes(reader.connection)).toBeLessThanOrEqual(
        2 * LIMITS.sendBufferBytesMax,
      );
      // The other direction is not affected.
      reader.peer.write('meanwhile');
      expect(String((await once(sender.peer, 'data'))[0])).toBe('meanwhile');
      const got = hashed(reader.peer);
      reader.peer.resume();
      await eventually(() => expect(got.length).toBe(payload.length));
    });

    test('forwards a FIN after the bytes before it, and keeps the other direction open', async () => {
      const { one, other } = await openPipe();
      other.peer.pause();
      one.peer.end(Buffer.alloc(16 << 20));
      const got = hashed(other.peer);
      other.peer.resume();
      await once(other.peer, 'end');
      expect(got.length).toBe(16 << 20);
      expect(events.ended).toEqual([one.connection]);
      other.peer.write('still here');
      expect(String((await once(one.peer, 'data'))[0])).toBe('still here');
      expect(transport.write(other.connection, Buffer.from('x'))).toBe('gone');
      expect(events.closed.size).toBe(0);
      other.peer.end('last');
      expect(String((await once(one.peer, 'data'))[0])).toBe('last');
      await eventually(() => {
        expect(events.closed.get(one.connection)).toBe('peer');
        expect(events.closed.get(other.connection)).toBe('peer');
      });
      expect(events.received.size).toBe(0);
    });

    test('after a reset of one, the other is an ordinary connection and can be written to', async () => {
      const { one, other } = await openPipe();
      events.onClose = (connection, cause) => {
        events.closed.set(connection, cause);
        if (connection !== other.connection) return;
        transport.write(one.connection, Buffer.from('last words'));
        transport.end(one.connection);
      };
      other.peer.resetAndDestroy();
      let received = '';
      one.peer.on('data', (bytes) => {
        received += bytes;
      });
      await once(one.peer, 'end');
      expect(received).toBe('last words');
      one.peer.end();
      await eventually(() => expect(events.closed.get(one.connection)).toBe('local'));
      expect(events.closed.get(other.connection)).toBe('peer');
    });

    test('sends the buffered bytes of a connection after the other was closed', async () => {
      const { one, other } = await openPipe();
      one.peer.pause();
      other.peer.write(Buffer.alloc(64 << 20, 'x'));
      await stalled(one.connection);
      const waiting = transport.bufferedBytes(one.connection);
      expect(waiting).toBeGreaterThan(0);
      transport.destroy(other.connection);
      await eventually(() => expect(events.closed.get(other.connection)).toBe('local'));
      expect(transport.bufferedBytes(one.connection)).toBe(waiting);
      transport.end(one.connection);
      const got = hashed(one.peer);
      one.peer.resume();
      await once(one.peer, 'end');
      expect(got.length).toBeGreaterThan(waiting);
    });

    test('reports bytes of a connection again after the other was ended', async () => {
      const { one, other } = await openPipe();
      transport.end(other.connection);
      one.peer.write('hello?');
      await eventually(() => expect(events.received.get(one.connection)).toBe('hello?'));
    });

    test('requires two different open connections that are in no pipe', async () => {
      const { one, other } = await openPipe();
      const third = await open();
      expect(transport.pipe(one.connection, third.connection)).toBe(false);
      expect(transport.pipe(third.connection, other.connection)).toBe(false);
      expect(transport.pipe(third.connection, third.connection)).toBe(false);
      expect(transport.pipe(third.connection, 0)).toBe(false);
      transport.destroy(other.connection);
      await eventually(() => expect(events.closed.has(other.connection)).toBe(true));
      expect(transport.pipe(one.connection, third.connection)).toBe(true);
      one.peer.write('anew');
      expect(String((await once(third.peer, 'data'))[0])).toBe('anew');
    });

    test('detects a reset of a connection that is not read', async () => {
      const { one, other } = await openPipe();
      other.peer.pause();
      one.peer.write(Buffer.alloc(64 << 20));
      await eventually(() => expect(transport.bufferedBytes(other.connection)).toBeGreaterThan(0));
      other.peer.resetAndDestroy();
      await eventually(() => expect(events.closed.get(other.connection)).toBe('peer'));
      transport.end(one.connection);
      await eventually(() => expect(events.closed.has(one.connection)).toBe(true));
    });
  });

  test('stopListening rejects new connections, and keeps open ones', async () => {
    const { peer, connection } = await open();
    transport.stopListening();
    const late = connect(port, '127.0.0.1');
    expect((await once(late, 'error'))[0]).toMatchObject({ code: 'ECONNREFUSED' });
    transport.write(connection, Buffer.from('still here'));
    expect(String((await once(peer, 'data'))[0])).toBe('still here');
  });
});

/**
 * TLS 1.3 after the handshake, which the native transport does itself: RFC 8446 §4.6.3, §5 and §6,
 * with input that no library sends.
 */
import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { pino } from 'pino';
import { collectGarbage } from '../../../common/process/memory/collect-garbage.js';
import {
  NativeTransport,
  nativeUnavailableReason,
} from '../../../common/transport/native-transport.js';
import { TlsIdentity } from '../../../common/transport/tls-identity.js';
import type { TransportEvents } from '../../../common/transport/transport.js';
import { Authority } from '../../support/certificates.js';
import { eventually } from '../../support/eventually.js';
import { ALERT, DATA, HANDSHAKE, RawTlsClient, SUITES } from '../../support/tls/raw-tls-client.js';

const KEY_UPDATE = Buffer.from([24, 0, 0, 1, 0]);
const KEY_UPDATE_REQUESTED = Buffer.from([24, 0, 0, 1, 1]);
const CLOSE_NOTIFY = Buffer.from([1, 0]);
const RECORD_BYTES_MAX = 2 ** 14;

const withNative = nativeUnavailableReason() === undefined ? describe : describe.skip;

withNative('records of TLS 1.3', () => {
  const authority = new Authority();
  let identity: TlsIdentity;
  let transport: NativeTransport;
  let port: number;
  let record: { failures: string[]; received: string; ended: number; closed: string[] };
  const clients: RawTlsClient[] = [];

  beforeEach(async () => {
    const current = { failures: [] as string[], received: '', ended: 0, closed: [] as string[] };
    record = current;
    // Answers each piece with its length.
    const events: TransportEvents = {
      onOpen: () => {},
      onBytes: (connection, bytes) => {
        current.received += bytes.toString('latin1');
        transport.write(connection, Buffer.from(`${bytes.length};`));
      },
      onEnd: (connection) => {
        current.ended++;
        transport.write(connection, Buffer.from('bye'));
        transport.end(connection);
      },
      onClose: (_, cause) => void current.closed.push(cause),
      onOverLimit: () => {},
      onTimer: () => {},
    };
    const log = pino({ level: 'silent' });
    const certificates = [authority.issue('own', ['DNS:own.example'])];
    const files = {
      certificates,
      ticketKeys: [],
      minVersion: 'TLSv1.3',
      clients: undefined,
      startsPlain: false,
    } as const;
    identity = await TlsIdentity.open(files, (reason) => current.failures.push(reason), log);
    const limits = { connectionsMax: 100, sendBufferBytesMax: 64 * 1024 };
    transport = new NativeTransport(events, limits, identity);
    port = await transport.listen('127.0.0.1', 0);
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    identity.close();
    await transport.close();
  });

  async function open(suite?: string): Promise<RawTlsClient> {
    const client = await RawTlsClient.open(port, suite);
    clients.push(client);
    return client;
  }

  /** The connection ends with an alert, and the failure is reported once. */
  async function expectFailure(client: RawTlsClient, alert: number, failure: string) {
    await eventually(() => expect(client.hasEnded).toBe(true));
    expect([client.alerts, record.failures]).toEqual([[alert], [failure]]);
    client.close();
    await eventually(() => expect(record.closed).toEqual(['local']));
  }

  test.each(Object.keys(SUITES))('data both ways with %s', async (suite) => {
    const client = await open(suite);
    client.send(DATA, 'hello');
    await eventually(() => expect(client.text).toBe('5;'));
    client.send(DATA, 'x'.repeat(RECORD_BYTES_MAX));
    await eventually(() => expect(record.received.length).toBe(5 + RECORD_BYTES_MAX));
    expect(record.received.slice(0, 5)).toBe('hello');
  });

  test('a record is found wherever its bytes are split', async () => {
    const client = await open();
    const bytes = Buffer.concat([client.seal(DATA, 'split'), client.seal(DATA, ' here')]);
    for (const byte of bytes) {
      client.socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually(() => expect(record.received).toBe('split here'));
    expect(transport.memory().tls13).toBeLessThan(250);
  });

  test('any pieces of any records arrive in their order', async () => {
    const client = await open();
    const part = fc.record({ length: fc.nat(300), padding: fc.nat(40) });
    const cuts = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 20 });
    let sent = '';
    const property = fc.asyncProperty(
      fc.array(part, { minLength: 1, maxLength: 8 }),
      cuts,
      async (parts, sizes) => {
        const records = parts.map(({ length, padding }) => {
          const text = String.fromCharCode(97 + (sent.length % 26)).repeat(length + 1);
          sent += text;
          return client.seal(DATA, text, padding);
        });
        const bytes = Buffer.concat(records);
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const end = at + sizes[i % sizes.length]!;
          client.socket.write(bytes.subarray(at, end));
          if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
          at = end;
        }
        await eventually(() => expect(record.received).toBe(sent));
      },
    );
    await fc.assert(property, { numRuns: 30 });
    expect(record.failures).toEqual([]);
  });

  test('empty records and padding are permitted, up to a whole record of it', async () => {
    const client = await open();
    for (let i = 0; i < 32; i++) client.send(DATA, '', i);
    client.send(DATA, 'data', RECORD_BYTES_MAX - 4);
    await eventually(() => expect(record.received).toBe('data'));
    expect(record.failures).toEqual([]);
  });

  test.each([
    ['empty records', DATA, ''],
    ['warnings', ALERT, Buffer.from([1, 90])],
  ])('a flood of %s ends the connection', async (_, type, content) => {
    const client = await open();
    for (let i = 0; i < 33; i++) client.send(type, content);
    await expectFailure(client, 10, 'too_many_empty_records');
  });

  test('keys change as often as the peer wants, requested or not', async () => {
    const client = await open();
    for (let i = 0; i < 100; i++) {
      client.send(HANDSHAKE, i % 2 === 0 ? KEY_UPDATE : KEY_UPDATE_REQUESTED);
      client.updateWriteKeys();
      client.send(DATA, 'x');
    }
    await eventually(() => expect(record.received).toBe('x'.repeat(100)));
    const counted = () => client.text.split(';').reduce((sum, length) => sum + Number(length), 0);
    await eventually(() => expect(counted()).toBe(100));
    expect(record.failures).toEqual([]);
  });

  test('any number of requests for new keys is answered once, before the next data', async () => {
    const client = await open();
    for (let i = 0; i < 10; i++) {
      client.send(HANDSHAKE, KEY_UPDATE_REQUESTED);
      client.updateWriteKeys();
    }
    client.send(DATA, 'x');
    await eventually(() => expect(client.text).toBe('1;'));
    expect(client.received.map(({ type }) => type)).toEqual([HANDSHAKE, DATA]);
    expect(client.received[0]!.content).toEqual(KEY_UPDATE);
  });

  test('a key update may come in pieces', async () => {
    const client = await open();
    for (const byte of KEY_UPDATE) client.send(HANDSHAKE, Buffer.from([byte]));
    client.updateWriteKeys();
    client.send(DATA, 'with new keys');
    await eventually(() => expect(record.received).toBe('with new keys'));
  });

  test('a flood of key updates without data ends the connection', async () => {
    const client = await open();
    for (let i = 0; i < 33; i++) {
      client.send(HANDSHAKE, KEY_UPDATE);
      client.updateWriteKeys();
    }
    await expectFailure(client, 10, 'too_many_empty_records');
  });

  test.each([
    ['another message than a key update', HANDSHAKE, Buffer.from([1, 0, 0, 0]), 10, 'unexpected'],
    ['a key update of another length', HANDSHAKE, Buffer.from([24, 0, 0, 2, 0]), 50, 'malformed'],
    ['a key update with another value', HANDSHAKE, Buffer.from([24, 0, 0, 1, 2]), 47, 'malformed'],
    [
      'bytes after a key update',
      HANDSHAKE,
      Buffer.concat([KEY_UPDATE, KEY_UPDATE]),
      10,
      'unexpected',
    ],
    ['an empty message', HANDSHAKE, Buffer.alloc(0), 10, 'unexpected'],
    ['an empty alert', ALERT, Buffer.alloc(0), 10, 'unexpected'],
    ['an alert of three bytes', ALERT, Buffer.from([1, 0, 0]), 50, 'malformed'],
    ['an encrypted change of cipher', 20, Buffer.from([1]), 10, 'unexpected'],
    ['an unknown type', 99, Buffer.from('x'), 10, 'unexpected'],
  ])('%s ends the connection', async (_, type, content, alert, failure) => {
    const client = await open();
    client.send(type, content);
    await expectFailure(client, alert, `${failure}_message`);
  });

  test('data between the pieces of a message ends the connection', async () => {
    const client = await open();
    client.send(HANDSHAKE, KEY_UPDATE.subarray(0, 2));
    client.send(DATA, 'x');
    await expectFailure(client, 10, 'unexpected_message');
    expect(record.received).toBe('');
  });

  test.each([20, 21, 22, 24, 0, 255])('a plain record of type %d ends it', async (type) => {
    const client = await open();
    client.socket.write(Buffer.from([type, 3, 3, 0, 2, 1, 0]));
    await expectFailure(client, 10, 'unexpected_message');
  });

  test('a record without a type ends the connection', async () => {
    const client = await open();
    client.send(0, '');
    await expectFailure(client, 10, 'unexpected_message');
  });

  test('a record that is too long ends the connection', async () => {
    const client = await open();
    client.socket.write(Buffer.from([DATA, 3, 3, 0x41, 0x01]));
    await expectFailure(client, 22, 'record_too_long');
  });

  test('too much plaintext in a record ends the connection', async () => {
    const client = await open();
    client.send(DATA, 'x'.repeat(RECORD_BYTES_MAX + 1));
    await expectFailure(client, 22, 'record_too_long');
  });

  test('a record with a bit flipped ends the connection, after the data before it', async () => {
    // A bit of each byte; a longer length would only wait for more.
    const bytes = [0, ...Array.from({ length: 4 + 1 + 16 }, (_, i) => 5 + i)];
    for (const bit of bytes.map((byte) => 8 * byte + (byte % 8))) {
      const client = await open();
      const before = client.seal(DATA, 'good');
      const bad = client.seal(DATA, 'evil');
      bad[bit >> 3]! ^= 1 << (bit & 7);
      record.received = '';
      record.failures.length = 0;
      client.socket.write(Buffer.concat([before, bad]));
      await eventually(() => expect(client.hasEnded).toBe(true));
      const isHeader = bit === 0;
      expect([bit, client.alerts, record.failures]).toEqual([
        bit,
        [isHeader ? 10 : 20],
        [isHeader ? 'unexpected_message' : 'bad_record'],
      ]);
      expect(record.received).toBe('good');
      client.close();
    }
  });

  test.each([0, 1, 16])('a record of %d bytes cannot be authentic', async (length) => {
    const client = await open();
    client.socket.write(Buffer.from([DATA, 3, 3, 0, length, ...Array(length).fill(7)]));
    await expectFailure(client, 20, 'bad_record');
  });

  test('close_notify ends one direction, and is answered', async () => {
    const client = await open();
    // After it, nothing is read. One write: bytes that arrive after the end would reset the
    // connection.
    const end = [client.seal(ALERT, CLOSE_NOTIFY), client.seal(DATA, 'late')];
    client.socket.write(Buffer.concat(end));
    await eventually(() => expect(client.hasEnded).toBe(true));
    expect([client.text, client.alerts, record.received]).toEqual(['bye', [0], '']);
    expect([record.ended, record.failures]).toEqual([1, []]);
  });

  test('a FIN without close_notify, also in the midst of a record, is an end', async () => {
    const client = await open();
    client.socket.end(client.seal(DATA, 'truncated').subarray(0, 20));
    await eventually(() => expect(client.hasEnded).toBe(true));
    expect([client.text, client.alerts, record.received]).toEqual(['bye', [0], '']);
    expect(record.failures).toEqual(['truncated_record']);
    expect(transport.memory().tls13).toBe(0);
  });

  test('a FIN without close_notify between records is counted, too', async () => {
    const client = await open();
    client.send(DATA, 'whole');
    client.socket.end();
    await eventually(() => expect(client.hasEnded).toBe(true));
    expect([record.received, record.failures]).toEqual(['whole', ['no_close_notify']]);
  });

  test('a fatal alert ends the connection without an answer', async () => {
    const client = await open();
    client.send(ALERT, Buffer.from([2, 40]));
    await eventually(() => expect(client.hasEnded).toBe(true));
    expect([client.received, record.failures]).toEqual([[], ['peer_alert']]);
  });

  test('keys are in pages that a core dump leaves out', async () => {
    // Else the blocks of former transports are freed meanwhile, and mapped again at the same
    // addresses.
    await freeGarbage();
    const before = undumpedBlocks();
    await open();
    const added = [...undumpedBlocks()].filter((block) => !before.has(block));
    // A block for handshakes, and one for the keys of the suite.
    expect(added.length).toBeGreaterThanOrEqual(2);
  });

  /** Resolves when what is not referenced any more is freed, also in the addon. */
  async function freeGarbage(): Promise<void> {
    collectGarbage();
    await nextTurn();
  }

  /** Addresses of the writable 64 KiB blocks of this process with MADV_DONTDUMP. */
  function undumpedBlocks(): Set<number> {
    const blocks = new Set<number>();
    const mappings = readFileSync('/proc/self/smaps', 'utf8').matchAll(
      /^(\w+)-(\w+) rw[\s\S]*?^VmFlags:([^\n]*)$/gm,
    );
    for (const [, from, to, flags] of mappings) {
      if (!/ dd( |$)/.test(flags!)) continue;
      const [start, end] = [Number.parseInt(from!, 16), Number.parseInt(to!, 16)];
      // The shadow memory of AddressSanitizer, terabytes of address space.
      if (end - start > 2 ** 30) continue;
      for (let at = start; at < end; at += 65_536) blocks.add(at);
    }
    return blocks;
  }

  test('memory of a connection is small, and is freed', async () => {
    const client = await open();
    client.send(DATA, 'x');
    await eventually(() => expect(client.text).toBe('1;'));
    expect(transport.memory().tls13).toBeLessThan(200);
    client.close();
    await eventually(() => expect(transport.memory().tls13).toBe(0));
  });
});

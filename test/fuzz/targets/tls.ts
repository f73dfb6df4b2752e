/**
 * Fuzz target: records of TLS 1.3 after the handshake, which the native transport opens itself. An
 * input is a list of records, each `<type> <padding> <length in two bytes> <content>`; they are
 * sealed with the keys of a real handshake, so that most of them are authentic. The sanitizer run
 * has its own fuzzer, with a model: test/common/transport/fuzz-tls.cc.
 */
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { pino } from 'pino';
import {
  NativeTransport,
  nativeUnavailableReason,
} from '../../../common/transport/native-transport.js';
import { type CertificateFiles, TlsIdentity } from '../../../common/transport/tls-identity.js';
import type { TransportEvents } from '../../../common/transport/transport.js';
import { Authority } from '../../support/certificates.js';
import { hex } from '../../support/devices/mqtt-bytes.js';
import { DATA, HANDSHAKE, RawTlsClient } from '../../support/tls/raw-tls-client.js';
import { split } from '../mutate.js';
import { same, type Target } from './target.js';

const HEADER_BYTES = 4;
const CONTENT_BYTES_MAX = 2 ** 14 + 1;
/** The client needs 20 µs to seal a record; thousands of them would look like a slow server. */
const RECORDS_MAX = 64;
/** A type of no record: these bytes are sent as they are. */
const RAW = 0xff;
const KEY_UPDATES = ['1800000100', '1800000101'];

const recordsTarget: Target = {
  name: 'tls-records',
  inputs: [
    // Data, empty data with padding, both key updates, data, close_notify.
    hex('17000005 68656c6c6f  17200000  16000005 1800000101  16000005 1800000100  17000001 78'),
    hex('17000001 78  15000002 0100'),
    // A key update in two parts, a warning.
    hex('16000002 1800  16000003 000100  1500000201 5a  17030004 61626364'),
  ],
  dictionary: [
    '17000000',
    '1700000178',
    '16000005 1800000101',
    '16000005 1800000100',
    '1500000201 00',
    '1500000201 5a',
    '1500000202 28',
    'ff000005 1703034101',
    'ff000007 15030300020100',
    'ff000006 140303000101',
    '17004001',
  ].map(hex),
  async run(input, random) {
    const whole = await play(input, (bytes) => [bytes]);
    const pieces = await play(input, (bytes) => split(bytes, random));
    same(pieces.received, whole.received, 'the data depends on how the input is split');
    same(pieces.failures, whole.failures, 'the outcome depends on how the input is split');
    // Not compared: when the server has ended the connection, the reset that answers the rest of
    // the input may discard its alert.
    return `${whole.failures} alert ${whole.alerts}`;
  },
};

/** The machine may have no compiler. */
export const tlsTargets: readonly Target[] =
  nativeUnavailableReason() === undefined ? [recordsTarget] : [];

let certificate: CertificateFiles | undefined;

/** Sends the records of the input over a connection of its own. */
async function play(
  input: Buffer,
  cut: (bytes: Buffer) => Buffer[],
): Promise<{ received: string; failures: string; alerts: string }> {
  let received = '';
  const failures: string[] = [];
  let onClosed = () => {};
  const closed = new Promise<void>((resolve) => {
    onClosed = resolve;
  });
  const events: TransportEvents = {
    onOpen: () => {},
    onBytes(connection, bytes) {
      received += bytes.toString('latin1');
      transport.write(connection, bytes);
    },
    onEnd: (connection) => transport.end(connection),
    onClose: () => onClosed(),
    onOverLimit: () => {},
    onTimer: () => {},
  };
  certificate ??= new Authority().issue('localhost');
  const files = {
    certificates: [certificate],
    ticketKeys: [],
    minVersion: 'TLSv1.3',
    clients: undefined,
    startsPlain: false,
  } as const;
  const log = pino({ level: 'silent' });
  const identity = await TlsIdentity.open(files, (failure) => failures.push(failure), log);
  const limits = { connectionsMax: 1, sendBufferBytesMax: 1024 * 1024 };
  const transport = new NativeTransport(events, limits, identity);
  try {
    const client = await RawTlsClient.open(await transport.listen('127.0.0.1', 0));
    for (const piece of cut(sealAll(client, input))) {
      client.socket.write(piece);
      await nextTurn();
    }
    client.socket.end();
    await Promise.all([client.isClosed || once(client.socket, 'close'), closed]);
    same(transport.memory().tls13, 0, 'memory remains');
    return { received, failures: failures.join(), alerts: client.alerts.join() };
  } finally {
    identity.close();
    await transport.close();
  }
}

function sealAll(client: RawTlsClient, input: Buffer): Buffer {
  const sealed: Buffer[] = [];
  for (let at = 0; at + HEADER_BYTES <= input.length && sealed.length < RECORDS_MAX; ) {
    const [type, padding] = [input[at]!, input[at + 1]!];
    const length = Math.min(input.readUInt16BE(at + 2), CONTENT_BYTES_MAX);
    at += HEADER_BYTES;
    const content = input.subarray(at, at + length);
    at += length;
    sealed.push(type === RAW ? content : client.seal(type, content, padding));
    const isKeyUpdate = type === HANDSHAKE && KEY_UPDATES.includes(content.toString('hex'));
    if (isKeyUpdate) client.updateWriteKeys();
  }
  return Buffer.concat([...sealed, client.seal(DATA, 'end')]);
}

/**
 * baseline.c on one of Longline's transports: `baseline-process.js <transport> <opening> <event>
 * [<certificate> <key>]`. Prints its port, answers every request with the opening, and for each
 * line on standard input writes the event to all connections.
 */
import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { openTransport, type TransportName } from '../../common/transport/open-transport.js';
import { TlsIdentity } from '../../common/transport/tls-identity.js';
import { slotOf, type Transport, WRITE_RESULTS } from '../../common/transport/transport.js';

const CONNECTIONS_MAX = 20_000;
const ACCEPTED = WRITE_RESULTS.indexOf('accepted');

const [, , name, opening, event, cert, key] = process.argv;
const openingBytes = Buffer.from(opening!);
const eventBytes = Buffer.from(event!);

/** The first `count` entries are the answered connections, in any order. */
const connections = new Float64Array(CONNECTIONS_MAX);
const indexOfSlot = new Int32Array(CONNECTIONS_MAX).fill(-1);
const results = new Uint8Array(CONNECTIONS_MAX);
let count = 0;

const log = pino({ level: 'silent' });
const files = (cert: string, key: string) =>
  ({
    certificates: [{ cert, key }],
    ticketKeys: [],
    minVersion: 'TLSv1.2',
    clients: undefined,
    startsPlain: false,
  }) as const;
const identity =
  cert === undefined ? undefined : await TlsIdentity.open(files(cert, key!), () => {}, log);

const { transport }: { transport: Transport } = openTransport(
  name as TransportName,
  {
    onOpen: () => {},
    onBytes(connection, bytes) {
      if (!bytes.includes('\r\n\r\n')) return;
      transport.write(connection, openingBytes);
      indexOfSlot[slotOf(connection)] = count;
      connections[count++] = connection;
    },
    onEnd: (connection) => transport.end(connection),
    onClose(connection) {
      const index = indexOfSlot[slotOf(connection)]!;
      if (index < 0) return;
      indexOfSlot[slotOf(connection)] = -1;
      const last = connections[--count]!;
      connections[index] = last;
      if (last !== connection) indexOfSlot[slotOf(last)] = index;
    },
    onOverLimit: () => {},
    onTimer: () => {},
  },
  { connectionsMax: CONNECTIONS_MAX, sendBufferBytesMax: 256 * 1024 },
  identity,
);

console.log(await transport.listen('127.0.0.1', 0));

for await (const _ of createInterface({ input: process.stdin })) {
  const from = process.hrtime.bigint();
  transport.writeMany(connections, count, eventBytes, results);
  const written = results.subarray(0, count).reduce((sum, r) => sum + Number(r === ACCEPTED), 0);
  console.log(`${written} ${process.hrtime.bigint() - from}`);
}
process.exit();

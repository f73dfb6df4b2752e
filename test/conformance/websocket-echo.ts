/**
 * A server that echoes every message, built from the WebSocket parser and writer of an edge.
 * Conformance suites need an echo, and an edge only pushes. For Autobahn:
 *
 *   node dist/test/conformance/websocket-echo.js 9001
 *   wstest -m fuzzingclient -s test/conformance/autobahn.json
 *
 * `wstest` is `pip install autobahntestsuite` for Python 2.7. docs/protocols.md has the results.
 */

import { Metrics } from '../../common/process/metrics.js';
import { openTransport } from '../../common/transport/open-transport.js';
import type { Connection, Transport } from '../../common/transport/transport.js';
import { findHeadEnd, parseHead } from '../../common/wire/http-head.js';
import { readHandshake } from '../../common/wire/websocket/handshake.js';
import { binaryFrame, textFrame } from '../../common/wire/websocket/writer.js';
import type { Host } from '../../edge/protocol/protocol.js';
import {
  type MessageSink,
  WebSocketInbound,
  webSocketFailures,
} from '../../edge/protocol/websocket/inbound.js';

/** Above the largest messages of the suite, 16 MiB. */
const BYTES_MAX = 64 * 1024 * 1024;

const heads = new Map<Connection, Buffer>();
const open = new Set<Connection>();

const host: Pick<Host, 'reply' | 'end' | 'setTimer'> = {
  reply: (connection, bytes) => void transport.write(connection, bytes),
  end(connection, _reason, last) {
    if (!open.delete(connection)) return;
    if (last !== undefined) transport.write(connection, last);
    transport.end(connection);
    inbound.forget(connection);
  },
  setTimer: () => {},
};
const echo: MessageSink = {
  // WebSocketInbound uses only these methods of its host.
  host: host as Host,
  messageBytesMax: BYTES_MAX,
  onMessage(connection, payload, isText) {
    host.reply(connection, isText ? textFrame(payload) : binaryFrame(payload));
    return undefined;
  },
  onPong: () => {},
};
const config = {
  heartbeatMs: 1_000,
  inboundFramesPerSecondMax: Number.POSITIVE_INFINITY,
};
const inbound = new WebSocketInbound(config, echo, webSocketFailures(new Metrics()));

const { transport }: { transport: Transport } = openTransport(
  undefined,
  {
    onOpen: (connection) => heads.set(connection, Buffer.alloc(0)),
    onBytes(connection, bytes) {
      if (open.has(connection)) return inbound.read(connection, bytes);
      const begun = heads.get(connection);
      if (begun === undefined) return;
      const head = Buffer.concat([begun, bytes]);
      const end = findHeadEnd(head, 0);
      if (end < 0) return void heads.set(connection, head);
      heads.delete(connection);
      const parsed = parseHead(head);
      const handshake = 'code' in parsed ? parsed : readHandshake(parsed);
      if ('code' in handshake) return transport.destroy(connection);
      open.add(connection);
      transport.write(connection, handshake.response);
    },
    onEnd: (connection) => host.end(connection, 'peer'),
    onClose: (connection) => host.end(connection, 'peer'),
    onOverLimit: () => {},
    onTimer: () => {},
  },
  { connectionsMax: 100, sendBufferBytesMax: BYTES_MAX },
);
console.log(`listening on ${await transport.listen('127.0.0.1', Number(process.argv[2]))}`);

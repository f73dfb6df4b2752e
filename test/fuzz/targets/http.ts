/** Fuzz targets: HTTP heads and connect requests, which are read before authentication. */

import { isMessageId } from '../../../common/cluster/inbox.js';
import { AllowedOrigins } from '../../../common/net/origin.js';
import { Metrics } from '../../../common/process/metrics.js';
import { CHUNKED, UNTIL_CLOSE } from '../../../common/wire/body-framing.js';
import { parseConnectQuery } from '../../../common/wire/connect-query.js';
import { findHeadEnd, parseHead } from '../../../common/wire/http-head.js';
import { HttpDetector } from '../../../edge/protocol/http/detector.js';
import { NdjsonProtocol } from '../../../edge/protocol/http/ndjson.js';
import { SseProtocol } from '../../../edge/protocol/http/sse.js';
import type { MqttWebSocketDetector } from '../../../edge/protocol/mqtt/websocket-detector.js';
import type { DetectionResult, GroupHost, Host } from '../../../edge/protocol/protocol.js';
import { webSocketFailures } from '../../../edge/protocol/websocket/inbound.js';
import { JsonWebSocketProtocol } from '../../../edge/protocol/websocket/json.js';
import { RawWebSocketProtocol } from '../../../edge/protocol/websocket/raw.js';
import { split } from '../mutate.js';
import { bytesOf, outcomeOf, same, type Target } from './target.js';

const HEAD = 'GET /connect?clientId=a HTTP/1.1\r\nHost: edge\r\n';
/** RFC 6455 §1.2 */
export const UPGRADE =
  'Upgrade: websocket\r\nConnection: Upgrade\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n';
export const HTTP_DICTIONARY = bytesOf(
  '\r\n',
  '\r\n ',
  '\n',
  '\r',
  '\0',
  ': ',
  ' HTTP/1.0',
  'HTTP/9.9',
  'Transfer-Encoding: chunked\r\n',
  'Content-Length: 5\r\n',
  'Content-Length: +5\r\n',
  'Host: other\r\n',
  'Last-Event-ID: 1795-0\r\n',
  'Origin: null\r\n',
  'Origin: https://a.example:443\r\n',
  'Origin: app://x\r\n',
  'Accept: application/x-ndjson\r\n',
  'Expect: 100-continue\r\n',
  'http://edge',
  'OPTIONS',
  'POST',
  'PRI * HTTP/2.0',
  UPGRADE,
  'Upgrade: h2c\r\n',
  'Sec-WebSocket-Version: 12\r\n',
  'Sec-WebSocket-Protocol: longline.raw\r\n',
  'Sec-WebSocket-Extensions: permessage-deflate\r\n',
  'longline.token.',
);
const QUERY_DICTIONARY = bytesOf(
  'clientId=',
  'lastEventId=',
  'epoch=',
  'token=',
  'ticket=',
  '1-1',
  '&',
  '%',
  '%00',
  '%C3%28',
  '%ED%A0%80',
  '=',
  '?',
  '#',
  '+',
);

const detector = makeDetector();

export const httpTargets: readonly Target[] = [
  {
    name: 'http-head',
    inputs: bytesOf(`${HEAD}\r\n`, `\r\n${HEAD}Accept: a\r\nAccept: b\r\n\r\n`),
    dictionary: HTTP_DICTIONARY,
    run(input, random) {
      const end = findHeadEnd(input, 0);
      let searched = 0;
      let endInPieces = -1;
      for (const piece of split(input, random)) {
        const seen = searched + piece.length;
        endInPieces = findHeadEnd(input.subarray(0, seen), searched);
        searched = seen;
        if (endInPieces >= 0) break;
      }
      same(endInPieces, end, 'the end of the head depends on how the input is split');
      if (end < 0) return 'incomplete';
      const head = parseHead(input.subarray(0, end));
      if ('code' in head) return outcomeOf(head);
      // RFC 9110 §5.5: no character that could end a line where the value is repeated.
      for (const value of [head.method, head.target, ...head.headers.values()]) {
        same(/[\r\n\0]/.test(value), false, `accepted a control character: ${value}`);
      }
      return `${head.headers.size} headers`;
    },
  },
  {
    name: 'http-connect-request',
    inputs: bytesOf(
      `${HEAD}\r\n`,
      `${HEAD}Accept: application/x-ndjson\r\nLast-Event-ID: 1795-0\r\n\r\n`,
      `${HEAD}${UPGRADE}\r\n`,
      `${HEAD}${UPGRADE}Sec-WebSocket-Protocol: longline.json, longline.token.a.b.c\r\n\r\n`,
      'OPTIONS /connect HTTP/1.1\r\nHost: edge\r\nOrigin: https://a.example\r\n\r\n',
    ),
    dictionary: [...HTTP_DICTIONARY, ...QUERY_DICTIONARY],
    run(input, random) {
      const whole = detect([input]);
      same(detect(split(input, random)), whole, 'the result depends on how the input is split');
      return whole;
    },
  },
  {
    name: 'connect-query',
    inputs: bytesOf('/connect?clientId=gr%C3%BC%C3%9Fe&lastEventId=1795-0&epoch=1-17'),
    dictionary: QUERY_DICTIONARY,
    run(input) {
      const query = parseConnectQuery(input.toString('latin1'));
      if ('code' in query) return outcomeOf(query);
      const bytes = Buffer.byteLength(query.clientId);
      same(bytes >= 1 && bytes <= 256, true, `accepted a clientId of ${bytes} bytes`);
      return `cursor ${isMessageId(query.lastEventId)}, epoch ${query.routedUnder !== undefined}`;
    },
  },
];

/** The clientId that an edge reads from a head; undefined if it rejects the request. */
export function clientIdAtEdge(head: Buffer): string | undefined {
  const read = detector.read(head, 0);
  return read.type === 'connect' ? read.request.query.clientId : undefined;
}

/** The outcome of protocol detection for a connection that receives these pieces. */
function detect(pieces: readonly Buffer[]): string {
  let all: Buffer = Buffer.alloc(0);
  let read: DetectionResult = { type: 'incomplete' };
  for (const piece of pieces) {
    const searched = all.length;
    all = Buffer.concat([all, piece]);
    // Bytes after a complete head depend on the split: they may not have arrived yet.
    const end = findHeadEnd(all, 0);
    read = detector.read(end < 0 ? all : all.subarray(0, end), searched);
    if (read.type !== 'incomplete') break;
  }
  if (read.type === 'rejected') return outcomeOf(read.rejected);
  if (read.type !== 'connect') return read.type;
  const { request } = read;
  request.accept(undefined);
  return `${request.protocol.name}, cursor ${request.cursor !== undefined}`;
}

function makeDetector(): HttpDetector {
  // The type is forced: detection calls no method of the host.
  const host = {} as Host;
  const groups = {} as GroupHost;
  const metrics = new Metrics();
  const failures = webSocketFailures(metrics);
  const frames = { heartbeatMs: 15_000, inboundFramesPerSecondMax: 1_000 };
  return new HttpDetector(
    {
      headBytesMax: 8192,
      heartbeatMs: 15_000,
      corsOrigins: new AllowedOrigins(['https://a.example', 'https://*.b.example'], true),
      mqttPaths: ['/mqtt'],
    },
    {
      sse: { chunked: new SseProtocol(CHUNKED), untilClose: new SseProtocol(UNTIL_CLOSE) },
      ndjson: {
        chunked: new NdjsonProtocol(CHUNKED),
        untilClose: new NdjsonProtocol(UNTIL_CLOSE),
      },
      websocketRaw: new RawWebSocketProtocol(host, frames, failures, metrics),
      websocketJson: new JsonWebSocketProtocol(host, frames, failures, groups),
      // Its frames are not read here.
      mqtt: { upgrade: () => ({}) } as unknown as MqttWebSocketDetector,
    },
    groups,
  );
}

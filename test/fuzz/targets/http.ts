/** Fuzz targets: what is read before a connection is anybody's, over HTTP. */

import { isMessageId } from '../../../common/cluster/inbox.js';
import { Metrics } from '../../../common/process/metrics.js';
import { parseConnectQuery } from '../../../common/wire/connect-query.js';
import { findHeadEnd, parseHead } from '../../../common/wire/http-head.js';
import { HttpDetector } from '../../../edge/protocol/http/detector.js';
import { NdjsonProtocol } from '../../../edge/protocol/http/ndjson.js';
import { SseProtocol } from '../../../edge/protocol/http/sse.js';
import type { DetectionResult } from '../../../edge/protocol/protocol.js';
import { countFailures } from '../../../edge/protocol/websocket/inbound.js';
import { JsonWebSocketProtocol } from '../../../edge/protocol/websocket/json.js';
import { RawWebSocketProtocol } from '../../../edge/protocol/websocket/raw.js';
import { cut } from '../mutate.js';
import { bytesOf, outcomeOf, same, type Target } from './target.js';

const HEAD = 'GET /connect?clientId=a HTTP/1.1\r\nHost: edge\r\n';
/** RFC 6455 §1.2 */
export const UPGRADE =
  'Upgrade: websocket\r\nConnection: Upgrade\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n';
export const HTTP_WORDS = bytesOf(
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
const QUERY_WORDS = bytesOf(
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
    words: HTTP_WORDS,
    run(input, random) {
      const end = findHeadEnd(input, 0);
      let searched = 0;
      let endInPieces = -1;
      for (const piece of cut(input, random)) {
        const seen = searched + piece.length;
        endInPieces = findHeadEnd(input.subarray(0, seen), searched);
        searched = seen;
        if (endInPieces >= 0) break;
      }
      same(endInPieces, end, 'the end of the head depends on where it is cut');
      if (end < 0) return 'incomplete';
      const head = parseHead(input.subarray(0, end));
      if ('code' in head) return outcomeOf(head);
      // RFC 9110 §5.5: nothing that could end a line, wherever it is repeated.
      for (const value of [head.method, head.target, ...head.headers.values()]) {
        same(/[\r\n\0]/.test(value), false, `a control character has passed: ${value}`);
      }
      return `${head.headers.size} headers`;
    },
  },
  {
    name: 'http-introduction',
    inputs: bytesOf(
      `${HEAD}\r\n`,
      `${HEAD}Accept: application/x-ndjson\r\nLast-Event-ID: 1795-0\r\n\r\n`,
      `${HEAD}${UPGRADE}\r\n`,
      `${HEAD}${UPGRADE}Sec-WebSocket-Protocol: longline.json, longline.token.a.b.c\r\n\r\n`,
      'OPTIONS /connect HTTP/1.1\r\nHost: edge\r\nOrigin: https://a.example\r\n\r\n',
    ),
    words: [...HTTP_WORDS, ...QUERY_WORDS],
    run(input, random) {
      const whole = introduce([input]);
      same(introduce(cut(input, random)), whole, 'it depends on where it is cut');
      return whole;
    },
  },
  {
    name: 'connect-query',
    inputs: bytesOf('/connect?clientId=gr%C3%BC%C3%9Fe&lastEventId=1795-0&epoch=1-17'),
    words: QUERY_WORDS,
    run(input) {
      const query = parseConnectQuery(input.toString('latin1'));
      if ('code' in query) return outcomeOf(query);
      const bytes = Buffer.byteLength(query.clientId);
      same(bytes >= 1 && bytes <= 256, true, `a clientId of ${bytes} bytes has passed`);
      return `cursor ${isMessageId(query.lastEventId)}, epoch ${query.sentUnder !== undefined}`;
    },
  },
];

/** The clientId that an edge knows a device by that says this; undefined: it is not let in. */
export function clientIdAtEdge(head: Buffer): string | undefined {
  const read = detector.read(head, 0);
  return read.type === 'connect' ? read.request.query.clientId : undefined;
}

/** How a connection that says this begins. */
function introduce(pieces: readonly Buffer[]): string {
  let all: Buffer = Buffer.alloc(0);
  let read: DetectionResult = { type: 'incomplete' };
  for (const piece of pieces) {
    const searched = all.length;
    all = Buffer.concat([all, piece]);
    // What follows a complete head is another matter in each cut: it may not have come yet.
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
  const metrics = new Metrics();
  const failures = countFailures(metrics);
  const frames = { heartbeatMs: 15_000, inboundFramesPerSecondMax: 1_000 };
  return new HttpDetector(
    { headBytesMax: 8192, heartbeatMs: 15_000, corsOrigins: ['https://a.example'] },
    {
      sse: new SseProtocol(),
      ndjson: new NdjsonProtocol(),
      websocketRaw: new RawWebSocketProtocol(frames, failures, metrics),
      websocketJson: new JsonWebSocketProtocol(frames, failures),
    },
  );
}

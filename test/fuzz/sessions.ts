/** What devices say that behave, for each protocol of the device port: what sessions are made from. */
import { proxyHeader } from '../../common/proxy-protocol.js';
import { type Frame, maskedFrame } from '../support/masked-frame.js';
import { connect, hex } from '../support/mqtt-bytes.js';
import { UPGRADE } from './http-targets.js';
import { MQTT_PACKETS } from './mqtt-targets.js';
import { bytesOf } from './target.js';

export interface Session {
  readonly protocol: string;
  /** What is said before the first answer, then what is said after it, and so on. */
  flights(clientId: string): readonly Buffer[];
}

const http = (clientId: string, headers = '') =>
  Buffer.from(`GET /connect?clientId=${clientId} HTTP/1.1\r\nHost: edge\r\n${headers}\r\n`);

const frames = (...all: Frame[]) => Buffer.concat(all.map(maskedFrame));

const PROXY_V2 = proxyHeader(
  { ip: Buffer.from('00000000000000000000ffffc0000201', 'hex'), port: 56_324 },
  { ip: Buffer.from('00000000000000000000ffffc6336401', 'hex'), port: 443 },
  [],
);

export const sessions: readonly Session[] = [
  { protocol: 'sse', flights: (clientId) => [http(clientId)] },
  { protocol: 'sse', flights: (clientId) => [http(clientId, 'Last-Event-ID: 1-0\r\n')] },
  {
    protocol: 'ndjson',
    flights: (clientId) => [http(clientId, 'Accept: application/x-ndjson\r\n')],
  },
  {
    protocol: 'websocket',
    flights: (clientId) => [
      http(clientId, UPGRADE),
      frames(
        { opcode: 10, payload: Buffer.from('1795-0') },
        { opcode: 1, payload: Buffer.from('x') },
      ),
      frames({ opcode: 9, payload: Buffer.from('ping') }),
      frames({ opcode: 8, payload: hex('03e8') }),
    ],
  },
  {
    protocol: 'websocket-json',
    flights: (clientId) => [
      http(clientId, `${UPGRADE}Sec-WebSocket-Protocol: longline.json\r\n`),
      frames(
        { opcode: 1, payload: Buffer.from('{"type":"ack",'), isFinal: false },
        { opcode: 0, payload: Buffer.from('"id":"1795-0"}') },
      ),
      frames({ opcode: 1, payload: Buffer.from('{"type":"ping"}') }),
      frames({ opcode: 1, payload: Buffer.from('{"type":"token","token":"a.b.c"}') }),
    ],
  },
  ...([4, 5] as const).map(
    (version): Session => ({
      protocol: 'mqtt',
      flights: (clientId) => [connect({ version, clientId }), ...MQTT_PACKETS[version]],
    }),
  ),
  {
    protocol: 'preflight',
    flights: () => bytesOf('OPTIONS /connect HTTP/1.1\r\nHost: edge\r\nOrigin: null\r\n\r\n'),
  },
  {
    protocol: 'proxy 1',
    flights: (clientId) => [
      Buffer.concat([...bytesOf('PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n'), http(clientId)]),
    ],
  },
  {
    protocol: 'proxy 2',
    flights: (clientId) => [Buffer.concat([PROXY_V2, http(clientId)])],
  },
];

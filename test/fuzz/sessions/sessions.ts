/** Valid sessions for each protocol of the device port, which attackers mutate. */
import type { MqttVersion } from '../../../common/wire/mqtt/rejection.js';
import { proxyHeader } from '../../../common/wire/proxy-protocol.js';
import { type Frame, maskedFrame } from '../../support/devices/masked-frame.js';
import { connect, field, hex } from '../../support/devices/mqtt-bytes.js';
import { tokenOf } from '../../support/tokens.js';
import { UPGRADE } from '../targets/http.js';
import { MQTT_PACKETS } from '../targets/mqtt.js';
import { bytesOf } from '../targets/target.js';

export interface Session {
  readonly protocol: string;
  /** Bytes to send, one buffer before each reply. */
  flights(clientId: string): readonly Buffer[];
}

const http = (query: string, headers = '') =>
  Buffer.from(`GET /connect?clientId=${query} HTTP/1.1\r\nHost: edge\r\n${headers}\r\n`);
const inQuery = (clientId: string) => `${clientId}&token=${tokenOf(clientId)}`;
const inHeader = (clientId: string) => `Authorization: Bearer ${tokenOf(clientId)}\r\n`;

/** With a username, which MQTT 3.1.1 requires with a password [MQTT-3.1.2-22]. */
const mqttConnect = (version: MqttVersion, clientId: string) => {
  const rest = Buffer.concat([field('name'), field(tokenOf(clientId))]);
  return connect({ version, clientId, flags: 0xc2, rest });
};

const frames = (...all: Frame[]) => Buffer.concat(all.map(maskedFrame));

const PROXY_V2 = proxyHeader(
  { ip: Buffer.from('00000000000000000000ffffc0000201', 'hex'), port: 56_324 },
  { ip: Buffer.from('00000000000000000000ffffc6336401', 'hex'), port: 443 },
  [],
);

export const sessions: readonly Session[] = [
  { protocol: 'sse', flights: (clientId) => [http(clientId, inHeader(clientId))] },
  {
    protocol: 'sse',
    flights: (clientId) => [http(inQuery(clientId), 'Last-Event-ID: 1-0\r\n')],
  },
  {
    protocol: 'ndjson',
    flights: (clientId) => [
      http(clientId, `Accept: application/x-ndjson\r\n${inHeader(clientId)}`),
    ],
  },
  {
    protocol: 'websocket',
    flights: (clientId) => [
      http(inQuery(clientId), UPGRADE),
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
      http(
        clientId,
        `${UPGRADE}Sec-WebSocket-Protocol: longline.json, longline.token.${tokenOf(clientId)}\r\n`,
      ),
      frames(
        { opcode: 1, payload: Buffer.from('{"type":"ack",'), isFinal: false },
        { opcode: 0, payload: Buffer.from('"id":"1795-0"}') },
      ),
      frames({ opcode: 1, payload: Buffer.from('{"type":"ping"}') }),
      frames({
        opcode: 1,
        payload: Buffer.from(JSON.stringify({ type: 'token', token: tokenOf(clientId) })),
      }),
    ],
  },
  ...([4, 5] as const).map(
    (version): Session => ({
      protocol: 'mqtt',
      flights: (clientId) => [mqttConnect(version, clientId), ...MQTT_PACKETS[version]],
    }),
  ),
  {
    protocol: 'preflight',
    flights: () => bytesOf('OPTIONS /connect HTTP/1.1\r\nHost: edge\r\nOrigin: null\r\n\r\n'),
  },
  {
    protocol: 'proxy 1',
    flights: (clientId) => [
      Buffer.concat([
        ...bytesOf('PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n'),
        http(inQuery(clientId)),
      ]),
    ],
  },
  {
    protocol: 'proxy 2',
    flights: (clientId) => [Buffer.concat([PROXY_V2, http(inQuery(clientId))])],
  },
];

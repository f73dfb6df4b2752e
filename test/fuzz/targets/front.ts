/** Fuzz targets: the connect request of a device, which the front reads before it picks an edge. */
import { AllowedOrigins } from '../../../common/net/origin.js';
import { findHeadEnd } from '../../../common/wire/http-head.js';
import { readConnectRequest } from '../../../router/front/handshake.js';
import { connect } from '../../support/devices/mqtt-bytes.js';
import { split } from '../mutate.js';
import { clientIdAtEdge, HTTP_DICTIONARY, UPGRADE } from './http.js';
import { MQTT_DICTIONARY } from './mqtt.js';
import { bytesOf, outcomeOf, readInPieces, same, type Target } from './target.js';

const CONFIG = {
  headBytesMax: 8 * 1024,
  corsOrigins: new AllowedOrigins(['*'], false),
  mqttPaths: ['/mqtt'],
};

export const frontTargets: readonly Target[] = [
  {
    name: 'front-connect-request',
    inputs: [
      ...bytesOf(
        'GET /connect?clientId=a HTTP/1.1\r\nHost: edge\r\nAccept: text/event-stream\r\n\r\n',
        `GET /connect?clientId=%C3%BC HTTP/1.1\r\nHost: edge\r\n${UPGRADE}\r\n`,
        `GET /mqtt HTTP/1.1\r\nHost: edge\r\n${UPGRADE}Sec-WebSocket-Protocol: mqtt\r\n\r\n`,
      ),
      connect({ version: 4 }),
      connect({ version: 5 }),
    ],
    dictionary: [...HTTP_DICTIONARY, ...MQTT_DICTIONARY],
    run(input, random) {
      let clientId: string | undefined;
      const reader = () => {
        let searched = 0;
        return (bytes: Buffer) => {
          const read = readConnectRequest(bytes, searched, CONFIG);
          searched = bytes.length;
          if (read === 'more') return read;
          clientId = read.type === 'accepted' ? read.clientId : undefined;
          if (read.type === 'upgraded') return read.type;
          return read.type === 'rejected' ? outcomeOf(read.rejected) : `accepted ${clientId}`;
        };
      };
      const whole = input.length === 0 ? 'more' : reader()(input);
      const pieces = split(input, random).filter(({ length }) => length > 0);
      same(readInPieces(pieces, reader()), whole, 'the result depends on how the input is split');
      // The front and the edge must read the same clientId.
      const end = findHeadEnd(input, 0);
      const served = end < 0 ? undefined : clientIdAtEdge(input.subarray(0, end));
      if (clientId !== undefined && served !== undefined) {
        same(served, clientId, 'the edge reads another clientId');
      }
      return clientId === undefined ? whole : 'accepted';
    },
  },
];

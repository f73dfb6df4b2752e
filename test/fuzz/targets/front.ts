/** Fuzz targets: what the front of a router reads of a device before it knows where to pass it on. */
import { findHeadEnd } from '../../../common/wire/http-head.js';
import { readIntroduction } from '../../../router/front/handshake.js';
import { connect } from '../../support/devices/mqtt-bytes.js';
import { cut } from '../mutate.js';
import { clientIdAtEdge, HTTP_WORDS, UPGRADE } from './http.js';
import { MQTT_WORDS } from './mqtt.js';
import { bytesOf, outcomeOf, readInPieces, same, type Target } from './target.js';

const HEAD_BYTES_MAX = 8 * 1024;

export const frontTargets: readonly Target[] = [
  {
    name: 'front-introduction',
    inputs: [
      ...bytesOf(
        'GET /connect?clientId=a HTTP/1.1\r\nHost: edge\r\nAccept: text/event-stream\r\n\r\n',
        `GET /connect?clientId=%C3%BC HTTP/1.1\r\nHost: edge\r\n${UPGRADE}\r\n`,
      ),
      connect({ version: 4 }),
      connect({ version: 5 }),
    ],
    words: [...HTTP_WORDS, ...MQTT_WORDS],
    run(input, random) {
      let clientId: string | undefined;
      const reader = () => {
        let searched = 0;
        return (bytes: Buffer) => {
          const read = readIntroduction(bytes, searched, HEAD_BYTES_MAX, ['*']);
          searched = bytes.length;
          if (read === 'more') return read;
          clientId = read.type === 'introduced' ? read.clientId : undefined;
          return read.type === 'rejected' ? outcomeOf(read.rejected) : `introduced ${clientId}`;
        };
      };
      const whole = input.length === 0 ? 'more' : reader()(input);
      const pieces = cut(input, random).filter(({ length }) => length > 0);
      same(readInPieces(pieces, reader()), whole, 'it depends on where it is cut');
      // Passed on as one client and served as another: that must not be.
      const end = findHeadEnd(input, 0);
      const served = end < 0 ? undefined : clientIdAtEdge(input.subarray(0, end));
      if (clientId !== undefined && served !== undefined) {
        same(served, clientId, 'the edge knows the device by another name');
      }
      return clientId === undefined ? whole : 'introduced';
    },
  },
];

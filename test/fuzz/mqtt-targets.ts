/** Fuzz targets: what MQTT clients say. */
import { parseMqttConnect } from '../../common/mqtt-connect.js';
import { connect, field, hex } from '../support/mqtt-bytes.js';
import { cut } from './mutate.js';
import { outcomeOf, readInPieces, same, type Target } from './target.js';

const PACKET_BYTES_MAX = 8 * 1024;

const WILL_AND_TOKEN = Buffer.concat([
  field('will/topic'),
  field('gone'),
  field('name'),
  field('token'),
]);

export const mqttTargets: readonly Target[] = [
  {
    name: 'mqtt-connect',
    inputs: [
      connect(),
      connect({ flags: 0xc6, keepAliveSeconds: 60, rest: WILL_AND_TOKEN }),
      connect({ version: 5, properties: '11 0000003c 21 0010 27 00001000' }),
      connect({ version: 5, properties: '26 0001 61 0001 62 15 0001 61' }),
      connect({ version: 5, flags: 0xc6, rest: Buffer.concat([hex('00'), WILL_AND_TOKEN]) }),
    ],
    words: [
      hex('0004 4d515454'),
      hex('0006 4d5149736470 03'),
      hex('ffffff7f'),
      hex('ffffffff7f'),
      hex('8000'),
      hex('c080'),
      hex('eda080'),
      hex('efbbbf'),
      ...['01', '11', '15', '16', '17', '19', '21', '22', '26', '27'].map(hex),
    ],
    run(input, random) {
      const read = (bytes: Buffer) => {
        const connected = parseMqttConnect(bytes, PACKET_BYTES_MAX);
        if (connected === 'more') return connected;
        if ('code' in connected) return outcomeOf(connected);
        const { byteLength, clientId, version } = connected;
        same(byteLength <= bytes.length, true, 'a packet ends behind what has come');
        same(/\0/.test(clientId), false, 'a clientId with NUL has passed [MQTT-1.5.4-2]');
        return `version ${version}, clientId ${clientId.length}`;
      };
      const whole = read(input);
      same(readInPieces(cut(input, random), read), whole, 'it depends on where it is cut');
      return whole;
    },
  },
];

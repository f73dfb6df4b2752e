/** Fuzz targets: packets of MQTT clients. */
import { parseMqttConnect } from '../../../common/wire/mqtt/connect.js';
import { frameMqtt } from '../../../common/wire/mqtt/fields.js';
import type { MqttVersion } from '../../../common/wire/mqtt/rejection.js';
import { parseMqttPacket } from '../../../edge/protocol/mqtt/packet.js';
import { connect, field, hex, packet } from '../../support/devices/mqtt-bytes.js';
import { split } from '../mutate.js';
import { outcomeOf, readInPieces, same, type Target } from './target.js';

const PACKET_BYTES_MAX = 8 * 1024;

const WILL_AND_TOKEN = Buffer.concat([
  field('will/topic'),
  field('gone'),
  field('name'),
  field('token'),
]);

export const MQTT_DICTIONARY = [
  hex('0004 4d515454'),
  hex('0006 4d5149736470 03'),
  hex('ffffff7f'),
  hex('ffffffff7f'),
  hex('8000'),
  hex('c080'),
  hex('eda080'),
  hex('efbbbf'),
  field('$share/g/push/a'),
  field('#'),
  field('+/#'),
  field('push/+'),
  field(''),
  ...['01', '11', '15', '16', '17', '19', '21', '22', '26', '27'].map(hex),
];

/** Packets of a device after its CONNECT, by version. */
export const MQTT_PACKETS: Readonly<Record<MqttVersion, readonly Buffer[]>> = {
  4: [
    packet(0x82, hex('0001'), field('push/+'), hex('01')),
    packet(0x82, hex('0002'), field('#'), hex('00'), field('push/a'), hex('02')),
    packet(0xa2, hex('0003'), field('#')),
    packet(0x40, hex('0001')),
    packet(0xc0),
    packet(0xe0),
    packet(0x32, field('up'), hex('0004'), Buffer.from('payload')),
  ],
  5: [
    packet(0x82, hex('0001 00'), field('push/+'), hex('01')),
    packet(0x82, hex('0002 02 0b01'), field('$share/g/#'), hex('2d')),
    packet(0xa2, hex('0003 00'), field('#')),
    packet(0x40, hex('0001 80 00')),
    packet(0xe0, hex('04 05 11 0000003c')),
    packet(0x30, field('up'), hex('03 23 0001'), Buffer.from('payload')),
    packet(0xf0, hex('18 00')),
  ],
};

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
    dictionary: MQTT_DICTIONARY,
    run(input, random) {
      const read = (bytes: Buffer) => {
        const connected = parseMqttConnect(bytes, PACKET_BYTES_MAX);
        if (connected === 'more') return connected;
        if ('code' in connected) return outcomeOf(connected);
        const { byteLength, clientId, version } = connected;
        same(byteLength <= bytes.length, true, 'a packet ends after the received bytes');
        same(/\0/.test(clientId), false, 'accepted a clientId with NUL [MQTT-1.5.4-2]');
        return `version ${version}, clientId ${clientId.length}`;
      };
      const whole = read(input);
      same(
        readInPieces(split(input, random), read),
        whole,
        'the result depends on how the input is split',
      );
      return whole;
    },
  },
  ...([4, 5] as const).map(
    (version): Target => ({
      name: `mqtt-${version === 4 ? '3.1.1' : '5'}-packet`,
      inputs: MQTT_PACKETS[version],
      dictionary: MQTT_DICTIONARY,
      run(input, random) {
        const read = (bytes: Buffer) => readPacket(bytes, version);
        const whole = read(input);
        same(
          readInPieces(split(input, random), read),
          whole,
          'the result depends on how the input is split',
        );
        return whole;
      },
    }),
  ),
];

function readPacket(bytes: Buffer, version: MqttVersion): string {
  const frame = bytes.length === 0 ? 'more' : frameMqtt(bytes, 0, PACKET_BYTES_MAX);
  if (frame === 'more') return frame;
  if ('code' in frame) return outcomeOf(frame);
  same(frame.end <= bytes.length, true, 'a packet ends after the received bytes');
  const read = parseMqttPacket(bytes[0]!, bytes, frame, version);
  return 'code' in read ? outcomeOf(read) : read.type;
}

/** Fuzz targets: WebSocket frames and messages of devices. */

import { FrameReader, type FrameSink } from '../../../common/wire/websocket/frame.js';
import { parseDeviceMessage } from '../../../edge/protocol/device-message.js';
import { type Frame, maskedFrame } from '../../support/devices/masked-frame.js';
import { hex } from '../../support/devices/mqtt-bytes.js';
import { split } from '../mutate.js';
import { bytesOf, outcomeOf, same, type Target } from './target.js';

const LIMITS = { messageBytesMax: 12 * 1024, fragmentsMax: 128 };

const frames = (...all: Frame[]) => Buffer.concat(all.map(maskedFrame));
const text = (payload: string): Frame => ({ opcode: 1, payload: Buffer.from(payload) });

export const websocketTargets: readonly Target[] = [
  {
    name: 'websocket-frame',
    inputs: [
      frames(text('{"type":"ack","id":"1795-0"}'), { opcode: 8, payload: hex('03e8 627965') }),
      frames(
        { ...text('gr'), isFinal: false },
        { opcode: 9, payload: Buffer.from('ping') },
        { opcode: 0, payload: Buffer.from('\u00fc\u00dfe') },
      ),
      frames(
        { opcode: 2, payload: Buffer.alloc(300, 7) },
        { opcode: 10, payload: Buffer.alloc(0) },
      ),
      hex('81 85 37fa213d 7f9f4d5158'),
    ],
    dictionary: [
      frames(text('x')),
      frames({ ...text('x'), isFinal: false }),
      frames({ opcode: 0, payload: Buffer.alloc(0), isFinal: false }),
      frames({ opcode: 8, payload: hex('03ed') }),
      ...[
        '81fe0001',
        '81ff',
        '82ff8000000000000000',
        '8900',
        '88fe',
        'c1',
        '83',
        '0180',
        'ed a080',
      ].map(hex),
    ],
    run(input, random) {
      const whole = readFrames([input]);
      same(readFrames(split(input, random)), whole, 'the result depends on how the input is split');
      // The kinds of frames, not how many of each.
      return [...new Set(whole.split(',').map((each) => each.split(' ', 1)[0]))].sort().join();
    },
  },
  {
    name: 'device-message',
    inputs: bytesOf(
      '{"type":"ack","id":"1795-0"}',
      '{"type":"ping"}',
      '{"type":"token","token":"a.b.c"}',
    ),
    dictionary: bytesOf(
      '"type":',
      '"ack"',
      '"id":',
      '"token"',
      '"__proto__":',
      '{',
      '[',
      'null',
      '1e400',
      '\\ud800',
      '\\u0000',
    ),
    run(input) {
      const message = parseDeviceMessage(input);
      if ('code' in message) return outcomeOf(message);
      for (const value of Object.values(message))
        same(typeof value, 'string', 'a field is not a string');
      return message.type;
    },
  },
];

/** Describes the frames that a reader finds in the pieces. */
function readFrames(pieces: readonly Buffer[]): string {
  const seen: string[] = [];
  const sink: FrameSink = {
    onMessage: (payload, isText) => {
      same(payload.length <= LIMITS.messageBytesMax, true, 'accepted a message over the limit');
      seen.push(`${isText ? 'text' : 'binary'} ${payload.toString('hex')}`);
    },
    onPing: (payload) => seen.push(`ping ${payload.toString('hex')}`),
    onPong: (payload) => seen.push(`pong ${payload.toString('hex')}`),
    onClose: (code) => seen.push(`close ${code}`),
  };
  const reader = new FrameReader(LIMITS, sink);
  for (const piece of pieces) {
    const violation = reader.read(piece);
    if (violation !== undefined) seen.push(`violation${violation.closeCode} ${violation.reason}`);
  }
  return `${seen.join(',')}${reader.isIdle ? ',idle' : ''}`;
}

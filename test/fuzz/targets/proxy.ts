/** Fuzz targets: PROXY headers. */
import { readProxyHeader } from '../../../common/wire/proxy-protocol.js';
import { hex } from '../../support/devices/mqtt-bytes.js';
import { split } from '../mutate.js';
import { bytesOf, outcomeOf, readInPieces, same, type Target } from './target.js';

const SIGNATURE = '0d0a0d0a000d0a515549540a';

export const proxyTargets: readonly Target[] = [
  {
    name: 'proxy-header',
    inputs: [
      ...bytesOf(
        'PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET',
        'PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 1 65535\r\n',
        'PROXY UNKNOWN ignored\r\n',
      ),
      hex(`${SIGNATURE} 21 11 000c c0000201 c6336401 dc04 01bb 474554`),
      hex(`${SIGNATURE} 21 21 0028 ${'20'.repeat(32)} dc04 01bb 04 0001 00`),
      hex(`${SIGNATURE} 20 00 0000`),
    ],
    dictionary: [
      ...bytesOf(
        'PROXY ',
        'TCP4 ',
        'TCP6 ',
        'UNKNOWN',
        '\r\n',
        ' ',
        '::',
        '0',
        '65536',
        '.256',
        'fe80::1%lo',
      ),
      hex(SIGNATURE),
      hex('2111'),
      hex('2121'),
      hex('2131'),
      hex('ffff'),
    ],
    run(input, random) {
      const read = (bytes: Buffer) => {
        const header = readProxyHeader(bytes, () => true);
        if (typeof header === 'string') return header;
        if ('code' in header) return outcomeOf(header);
        const { byteLength, source, tlvs } = header;
        same(byteLength <= bytes.length, true, 'a header ends after the received bytes');
        same(source === undefined || source.ip.length === 16, true, 'an address has 16 bytes');
        return `header ${byteLength} ${source?.ip.toString('hex')} ${source?.port} ${tlvs.size}`;
      };
      const whole = read(input);
      same(
        readInPieces(split(input, random), read),
        whole,
        'the result depends on how the input is split',
      );
      return whole.startsWith('header ') ? 'header' : whole;
    },
  },
];

import { expect, test } from '@jest/globals';
import { parseSlabs, parseSocketBuffers } from '../../../edge/report/slab.js';

test('an object costs its share of the pages, not only its size', () => {
  const slabs = parseSlabs(
    [
      'slabinfo - version: 2.1',
      '# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables',
      'TCP                 1963   2002   2368   13    8 : tunables    0    0    0 : slabdata    154    154      0',
      'filp                   0      0    192   21    1 : tunables    0    0    0 : slabdata      0      0      0',
      '',
    ].join('\n'),
  );
  expect(slabs.get('TCP')).toEqual({ bytesPerObject: (8 * 4096) / 13, bytes: 154 * 8 * 4096 });
  expect(slabs.get('filp')!.bytes).toBe(0);
  expect(slabs.size).toBe(2);
});

test('socket buffers are given in pages', () => {
  const sockstat =
    'sockets: used 10\nTCP: inuse 4 orphan 0 tw 0 alloc 5 mem 305\nUDP: inuse 0 mem 0\n';
  expect(parseSocketBuffers(sockstat)).toEqual({ sockets: 4, bytes: 305 * 4096 });
  expect(parseSocketBuffers('')).toEqual({ sockets: 0, bytes: 0 });
});

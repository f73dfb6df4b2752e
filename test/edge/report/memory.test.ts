import { expect, test } from '@jest/globals';
import { MemoryAccount, type MemoryReadings, measureParts } from '../../../edge/report/memory.js';
import { parseSlabs } from '../../../edge/report/slab.js';

const SLABS = parseSlabs(
  'TCP 10 26 2368 13 8 : tunables 0 0 0 : slabdata 2 2 0\n' +
    'filp 10 42 192 21 1 : tunables 0 0 0 : slabdata 2 2 0\n',
);
const SOCKSTAT = 'TCP: inuse 200 orphan 0 tw 0 alloc 200 mem 10\n';

const readings: MemoryReadings = {
  connections: 100,
  resident: 100_000,
  heapUsed: 30_000,
  heapTotal: 50_000,
  table: 4_000,
  slots: 6_000,
  sendBuffers: 1_000,
  tls12: 300,
  tls13: 500,
  slabs: SLABS,
  sockstat: SOCKSTAT,
};

test('the parts of the process add up to its resident memory', () => {
  const parts = [...measureParts(readings)].filter(([name]) => !name.startsWith('kernel/'));
  expect(parts.reduce((sum, [, bytes]) => sum + bytes, 0)).toBe(readings.resident);
});

test('the kernel’s part is the cost of the sockets', () => {
  const parts = measureParts(readings);
  expect(parts.get('kernel/TCP')).toBe(Math.round((100 * 8 * 4096) / 13));
  expect(parts.get('kernel/buffers')).toBe((10 * 4096) / 2);
});

test('leaves out what cannot be read', () => {
  const parts = measureParts({ ...readings, slabs: new Map(), sockstat: undefined });
  expect([...parts.keys()].filter((name) => name.startsWith('kernel/'))).toEqual([]);
});

test('reports each part with its size at the start', () => {
  let now: MemoryReadings = { ...readings, connections: 0, table: 1_000 };
  const account = new MemoryAccount(() => now);
  now = readings;
  expect(account.parts()).toContainEqual({ name: 'table', bytes: 4_000, bytesAtStart: 1_000 });
  expect(account.parts().find(({ name }) => name === 'kernel/TCP')!.bytesAtStart).toBe(0);
});

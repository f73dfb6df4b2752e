import { expect, test } from '@jest/globals';
import { type Grade, judge, type Readings } from '../../../cli/doctor/findings.js';

const CONNECTIONS = 100_000;

const SUFFICIENT: Readings = {
  openFilesMax: 200_000,
  openFilesPerProcessMax: 1_048_576,
  openFilesPerMachineMax: 1_000_000,
  listenBacklogMax: 4_096,
  synBacklogMax: 4_096,
  tcpMemPages: [100_000, 200_000, 300_000],
  localPorts: [32_768, 60_999],
  conntrack: { count: 12, max: 262_144 },
  memoryBytes: 8 * 2 ** 30,
  cgroupMemoryBytesMax: Infinity,
  nativeUnavailableReason: '',
  redis: {
    version: '7.0.15',
    isReplica: false,
    subscriberBuffer: [2 ** 28, 2 ** 26, 60],
    maxmemoryBytes: 2 ** 30,
    maxmemoryPolicy: 'noeviction',
    evictedKeys: 0,
    appendOnly: true,
    clocks: [{ process: 'this machine', offsetMs: 1, errorMs: 1 }],
  },
};
const { redis: SUFFICIENT_REDIS } = SUFFICIENT;

function graded(readings: Readings): [string, Grade][] {
  return judge(readings, CONNECTIONS)
    .filter(({ grade }) => grade !== 'ok')
    .map(({ what, grade }) => [what, grade]);
}

test('reports nothing for a machine with sufficient limits', () => {
  expect(graded(SUFFICIENT)).toEqual([]);
});

test.each<[Partial<Readings>, string, Grade]>([
  [{ openFilesMax: CONNECTIONS + 511 }, 'open files per process', 'warn'],
  [{ openFilesMax: 512 }, 'open files per process', 'fail'],
  [{ openFilesPerMachineMax: 199_999 }, 'open files of the machine', 'warn'],
  [{ openFilesPerMachineMax: 100_000 }, 'open files of the machine', 'fail'],
  [{ listenBacklogMax: 128 }, 'connections that wait to be accepted', 'warn'],
  [{ synBacklogMax: 1_024 }, 'connections that wait to be accepted', 'warn'],
  [{ tcpMemPages: [1, 2, 99_999] }, 'memory of all TCP buffers', 'warn'],
  [{ cgroupMemoryBytesMax: 2 ** 30 }, 'memory', 'warn'],
  [{ cgroupMemoryBytesMax: 2 ** 29 }, 'memory', 'fail'],
  [{ localPorts: [40_000, 50_000] }, 'local ports', 'warn'],
  [{ conntrack: { count: 0, max: 131_072 } }, 'tracked connections (conntrack)', 'warn'],
  [{ conntrack: { count: 0, max: 65_536 } }, 'tracked connections (conntrack)', 'fail'],
  [{ nativeUnavailableReason: 'it was not built' }, 'transport of edges', 'warn'],
  [{ redis: { unreachable: 'connect ECONNREFUSED' } }, 'Redis', 'fail'],
  [{ redis: { ...SUFFICIENT_REDIS, version: '6.2.7' } as never }, 'Redis version', 'fail'],
  [
    { redis: { ...SUFFICIENT_REDIS, subscriberBuffer: [2 ** 25, 2 ** 23, 60] } as never },
    'Redis buffer per subscriber',
    'warn',
  ],
  [
    { redis: { ...SUFFICIENT_REDIS, maxmemoryPolicy: 'allkeys-lru' } as never },
    'Redis when its memory is full',
    'fail',
  ],
  [{ redis: { ...SUFFICIENT_REDIS, evictedKeys: 1 } as never }, 'keys that Redis evicted', 'fail'],
  [{ redis: { ...SUFFICIENT_REDIS, isReplica: true } as never }, 'Redis role', 'fail'],
  [{ redis: { ...SUFFICIENT_REDIS, appendOnly: false } as never }, 'Redis persistence', 'warn'],
  [{ redis: { ...SUFFICIENT_REDIS, clocks: [] } as never }, 'clocks', 'unknown'],
  [
    {
      redis: {
        ...SUFFICIENT_REDIS,
        clocks: [{ process: 'edge-1', offsetMs: -90_000, errorMs: 1 }],
      } as never,
    },
    'clocks',
    'warn',
  ],
])('%j: %s is a %s', (readings, what, grade) => {
  expect(graded({ ...SUFFICIENT, ...readings })).toEqual([[what, grade]]);
});

test('a value that could not be read is unknown, not ok', () => {
  // `Object.fromEntries` loses the names in its type.
  const unreadable = Object.fromEntries(
    Object.keys(SUFFICIENT).map((name) => [name, undefined]),
  ) as unknown as Readings;
  const grades = judge(unreadable, CONNECTIONS).map(({ grade }) => grade);
  expect(new Set(grades)).toEqual(new Set(['unknown']));
});

test('advises how many edges or which limit the connections need', () => {
  const [files] = judge({ ...SUFFICIENT, openFilesMax: 20_000 }, CONNECTIONS);
  expect(files!.value).toBe('20000: 19488 connections per edge');
  expect(files!.advice).toContain('run 6 edges, or set LimitNOFILE=100512');
});

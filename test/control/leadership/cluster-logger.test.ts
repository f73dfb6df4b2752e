import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import { ClusterLogger } from '../../../control/leadership/cluster-logger.js';
import type { EdgeRecord } from '../../../control/membership/edge-record.js';

function start() {
  const lines: { level: number; msg: string; edgeId?: string }[] = [];
  const log = pino({ level: 'debug' }, { write: (line) => lines.push(JSON.parse(line)) });
  const at = (level: number) => lines.filter((line) => line.level === level);
  return { logger: new ClusterLogger(log), info: () => at(30), warnings: () => at(40) };
}

const assignment = {
  position: { incarnation: 1, epoch: 7 },
  edges: [],
  owners: new Uint16Array(),
  moves: [],
  isBalancing: false,
};
const move = { type: 'move-started', shard: 0, from: 'edge-1', to: 'edge-2' } as const;
const edgeOf = (state: EdgeRecord['state'], shuttingDown = false): EdgeRecord => ({
  id: 'edge-1',
  incarnation: 'i1',
  advertisedUrl: '',
  state,
  capacity: 1,
  zone: '',
  counts:
    state.type === 'dead'
      ? undefined
      : { connections: 0, guests: 0, shardsSubscribed: 0, ready: true, shuttingDown, shards: [] },
  heardAtMs: 1_000,
});
const alive = { type: 'alive', session: 1, leaseEndsAtMs: 9_000 } as const;
const suspect = { type: 'suspect', vanishedAtMs: 2_000, leaseEndsAtMs: 9_000 } as const;
const dead = { type: 'dead', forgetAtMs: 99_000 } as const;

test('1,247 moves are one line per ten seconds at info', () => {
  const { logger, info } = start();
  for (let i = 0; i < 1_247; i++) {
    logger.onAssignment(assignment, [move]);
    logger.tick(i * 100, 1);
  }
  expect(info().length).toBeLessThanOrEqual(13);
  expect(info()[1]).toMatchObject({ 'move-started': 100, inFlight: 1 });
  logger.tick(1e6, 0);
  const lines = info().length;
  logger.tick(2e6, 0);
  expect(info()).toHaveLength(lines);
});

test('a change of the edges is at info', () => {
  const { logger, info } = start();
  logger.onAssignment(assignment, [move, { type: 'edge-joined', edgeId: 'edge-1' }]);
  expect(info()).toMatchObject([{ msg: 'new assignment' }]);
});

test('an edge that dies is a warning, once; one that has shut down is none', () => {
  const { logger, info, warnings } = start();
  for (const state of [alive, suspect, dead, dead]) logger.onEdges(9_000, [edgeOf(state)]);
  expect(warnings()).toMatchObject([{ edgeId: 'edge-1', silentMs: 8_000 }]);
  for (const state of [alive, dead]) logger.onEdges(9_000, [edgeOf(state)]);
  expect(warnings()).toHaveLength(2);
  for (const state of [alive, suspect, dead]) logger.onEdges(9_000, [edgeOf(state, true)]);
  expect(warnings()).toHaveLength(2);
  expect(info()).toMatchObject([{ edgeId: 'edge-1' }]);
});

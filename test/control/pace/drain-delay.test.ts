import { expect, test } from '@jest/globals';
import { type DrainConditions, drainDelay, isHalted } from '../../../control/pace/drain-delay.js';

const progress = {
  edgeId: 'edge-1',
  shardsPending: 3,
  shardsMoving: 1,
  clientsRemaining: 10,
  secondsRemaining: 5,
  waitingFor: undefined,
  isFinished: false,
};
const free: DrainConditions = {
  isFrozen: false,
  isPaused: false,
  isShuttingDown: false,
  hasReceiver: true,
  paceReason: 'idle',
};

test.each([
  ['frozen', { isFrozen: true, isPaused: true }, true],
  ['paused', { isPaused: true, hasReceiver: false }, true],
  ['paused', { isPaused: true, isShuttingDown: true }, true],
  ['no-other-edge', { hasReceiver: false }, true],
  ['receiver-lost', { paceReason: 'stopped' }, true],
  ['reports-missing', { paceReason: 'held' }, false],
  ['pressure', { paceReason: 'pressure' }, false],
  [undefined, {}, false],
] as const)('%s: %j', (delay, conditions, halted) => {
  expect(drainDelay(progress, { ...free, ...conditions })).toBe(delay);
  expect(isHalted(delay)).toBe(halted);
});

test('an edge that is shutting down empties during a pause once its shards move', () => {
  const moving = { ...progress, shardsPending: 0 };
  const paused = { ...free, isPaused: true };
  expect(drainDelay(moving, { ...paused, isShuttingDown: true })).toBeUndefined();
  expect(drainDelay(moving, paused)).toBe('paused');
});

test('an edge without reports, and one that is finished', () => {
  expect(drainDelay({ ...progress, clientsRemaining: undefined }, free)).toBe('edge-silent');
  const finished = { ...progress, shardsPending: 0, isFinished: true };
  expect(drainDelay(finished, { ...free, isFrozen: true })).toBeUndefined();
});

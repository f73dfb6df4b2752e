/**
 * Faults of clocks: each process has its own, and that of Redis is one more. A clock is set by an
 * hour, as by an operator or a virtual machine that continues, and runs too fast or too slow. No
 * push may expire early or late by it, and no connection or shard may depend on it.
 */
import type { LocalCluster } from '../../../cli/local/cluster.js';
import type { ClockSetting, Clocks } from '../../clock/clocks.js';
import { RIGHT } from '../../clock/clocks.js';
import { between, pick, type Random } from '../random.js';
import { requireStandalone } from './basic.js';
import { type Draw, drawRole, type FaultRun, faultKind, roleName } from './fault-kind.js';

const HOUR_MS = 3_600_000;
/** Steps of roles; the last one exceeds the TTL of the pushes of a drill. */
const STEPS_MS = [HOUR_MS, -HOUR_MS, 5 * HOUR_MS];
/** 1 %: a machine without NTP is off by less. */
const DRIFT_PPM = 10_000;

interface OfMember extends ClockSetting {
  /** See `drawRole`. */
  readonly member: number;
  readonly forMs: number;
}

export const CLOCK_KINDS = {
  stepClock: faultKind({
    family: 'clocks',
    effect: 'the clock of a role is set an hour forward or back, or five hours forward',
    recovery: 'it is set right again',
    draw: ({ shape, random }: Draw): OfMember => ({
      member: drawRole({ shape, random }),
      aheadMs: pick(random, STEPS_MS),
      driftPpm: 0,
      forMs: between(random, 500, 8_000),
    }),
    target: clockOfMember,
    inject: (fault, run) => setClocks([roleName(fault.member, run.cluster)], fault, run),
  }),
  stepAllClocks: faultKind({
    family: 'clocks',
    effect: 'the clocks of all roles are set by the same time; that of Redis is not',
    recovery: 'they are set right again',
    draw: ({ random }: Draw) => ({
      aheadMs: pick(random, STEPS_MS),
      driftPpm: driftOf(random),
      forMs: between(random, 500, 8_000),
    }),
    target: () => 'clock of all roles',
    inject: (fault, run) => setClocks(run.cluster.names, fault, run),
  }),
  driftClock: faultKind({
    family: 'clocks',
    effect: 'the clock of a role is wrong by up to 90 s, and runs 1 % too fast or too slow',
    recovery: 'it is set right again',
    draw: ({ shape, random }: Draw): OfMember => ({
      member: drawRole({ shape, random }),
      aheadMs: between(random, -90_000, 90_000),
      driftPpm: driftOf(random),
      forMs: between(random, 3_000, 15_000),
    }),
    target: clockOfMember,
    inject: (fault, run) => setClocks([roleName(fault.member, run.cluster)], fault, run),
  }),
  stepRedisClock: faultKind({
    family: 'clocks of Redis',
    redis: 'standalone',
    effect: 'the clock of Redis is set an hour forward or back, and runs 1 % too fast or too slow',
    recovery: 'it is set right again',
    draw: ({ random }) => ({
      aheadMs: pick(random, [HOUR_MS, -HOUR_MS]),
      driftPpm: driftOf(random),
      forMs: between(random, 500, 8_000),
    }),
    target: () => 'clock of redis',
    async inject({ forMs, ...setting }, run) {
      const clocks = requireClocks(run);
      const { server } = requireStandalone(run.redis);
      await clocks.setRedis(server, setting);
      try {
        await run.sleep(forMs);
      } finally {
        await clocks.setRedis(server, RIGHT);
      }
      await run.untilAllReady();
    },
  }),
};

async function setClocks(
  names: readonly string[],
  fault: ClockSetting & { readonly forMs: number },
  run: FaultRun,
): Promise<void> {
  const clocks = requireClocks(run);
  for (const name of names) await clocks.set(name, fault);
  try {
    await run.sleep(fault.forMs);
  } finally {
    for (const name of names) await clocks.set(name, RIGHT);
  }
  for (const name of names) await run.untilReady(name);
}

/** Not the member itself: other faults of it go on meanwhile. */
function clockOfMember(fault: OfMember, cluster: Pick<LocalCluster, 'namesOf'>): string {
  return `clock of ${roleName(fault.member, cluster)}`;
}

function driftOf(random: Random): number {
  return pick(random, [DRIFT_PPM, -DRIFT_PPM]);
}

function requireClocks({ clocks }: FaultRun): Clocks {
  if (clocks !== undefined) return clocks;
  throw new Error('a fault of the clocks was scheduled; see possibleKinds');
}

import { expect, test } from '@jest/globals';
import { FAMILIES, type ScheduleShape } from '../../../drill/faults/kinds/fault-kind.js';
import {
  CLUSTER_KINDS,
  clusterKind,
  FAULT_KINDS,
  possibleKinds,
  requirementOf,
} from '../../../drill/faults/kinds.js';
import { planFaults } from '../../../drill/faults/schedule.js';

const shape: ScheduleShape = {
  seed: 1,
  durationMs: 60_000,
  controls: 1,
  edges: 3,
  routers: 2,
  devices: 1_500,
  devicesBusy: 150,
  leaseMs: 5_000,
  kinds: possibleKinds('standalone'),
};

test('the same seed gives the same schedule, another seed another', () => {
  expect(planFaults(shape)).toEqual(planFaults(shape));
  expect(planFaults({ ...shape, seed: 2 })).not.toEqual(planFaults(shape));
});

test('a minute has every kind of fault, in the order of time, for any seed', () => {
  for (let seed = 0; seed < 50; seed++) {
    const schedule = planFaults({ ...shape, seed });
    const times = schedule.map(({ atMs }) => atMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times.at(-1)).toBeLessThan(shape.durationMs);
    expect(new Set(schedule.map(({ kind }) => kind))).toEqual(new Set(shape.kinds));
  }
});

test('an edge is frozen for longer than its lease', () => {
  const frozen = planFaults({ ...shape, durationMs: 600_000 }).flatMap((fault) =>
    fault.kind === 'freezeEdge' ? [fault.forMs] : [],
  );
  expect(frozen.length).toBeGreaterThan(5);
  expect(Math.min(...frozen)).toBeGreaterThan(shape.leaseMs);
});

test('a schedule has only the given kinds, and only existing targets', () => {
  const schedule = planFaults({ ...shape, devices: 3, devicesBusy: 1, kinds: ['cut', 'killEdge'] });
  for (const fault of schedule) {
    if (fault.kind === 'cut') expect(Math.max(...fault.devices)).toBeLessThan(3);
    else if (fault.kind === 'killEdge') expect(fault.edge).toBeLessThan(3);
    else throw new Error(`unexpected ${fault.kind}`);
  }
});

test('a fault of any role is drawn for each of them, also for a second control', () => {
  const names = {
    control: ['control', 'control-2'],
    router: ['r1', 'r2'],
    edge: ['e1', 'e2', 'e3'],
  };
  const cluster = { namesOf: (role: keyof typeof names) => names[role] };
  const kinds = ['stepClock', 'driftClock', 'squeezeRole', 'exhaustRole'];
  for (const kind of kinds) {
    const long = { ...shape, controls: 2, durationMs: 1_000_000, kinds: [kind] };
    const targets = planFaults(long).map((fault) => clusterKind(kind)!.target(fault, cluster));
    const found = targets.map((target) => target.replace('clock of ', ''));
    expect(new Set(found)).toEqual(new Set(Object.values(names).flat()));
  }
});

test('the options of a kind that is not possible are options of the command', () => {
  expect(requirementOf('stepRedisClock')).toBe(
    'stepRedisClock needs --clocks and --redis standalone',
  );
  expect(requirementOf('squeezeRole')).toBe('squeezeRole needs --memory');
});

test('there are lulls, so that promises in calm are checked, too', () => {
  const faults = planFaults({ ...shape, kinds: ['killEdge'] });
  const gaps = faults.slice(1).map(({ atMs }, i) => atMs - faults[i]!.atMs);
  expect(Math.max(...gaps)).toBeGreaterThan(12_000);
});

test('every kind of fault says what it does and how the cluster recovers', () => {
  for (const { family, effect, recovery } of Object.values(CLUSTER_KINDS)) {
    expect(FAMILIES).toContain(family);
    expect(effect).not.toBe('');
    expect(recovery).not.toBe('');
  }
});

test('a drill has the faults of the chosen families only, beside the basic ones', () => {
  for (const redis of ['standalone', 'cluster'] as const) {
    const basic = possibleKinds(redis);
    expect(basic.map(clusterKind).map((kind) => kind?.family ?? 'basic')).toEqual(
      basic.map(() => 'basic'),
    );
    for (const family of FAMILIES) {
      const expected = FAULT_KINDS.filter((name) => {
        const kind = clusterKind(name);
        if (kind?.family === family && (kind.redis ?? redis) === redis) return true;
        return basic.includes(name);
      });
      expect(possibleKinds(redis, [family])).toEqual(expected);
    }
  }
});

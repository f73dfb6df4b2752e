/**
 * Too little memory. A role reads the limit of its cgroup and sheds load by its own bounds before
 * the kernel kills it. When the kernel does, everything is as after SIGKILL.
 */
import type { MemoryGroups } from '../../memory/memory-groups.js';
import { between } from '../random.js';
import { drawRole, type FaultRun, faultKind, roleName } from './fault-kind.js';

const MIB = 1024 * 1024;
/** Live-only pushes to the devices of an edge, more than its memory can buffer. */
const FLOOD_PUSHES = 400;
const FLOOD_PUSH_BYTES = 64 * 1024;
const FLOOD_INTERVAL_MS = 250;
const METRICS_MS_MAX = 2_000;
const SHED =
  /^longline_\w+_total\{(?:[^}]*,)?(?:code="OVERLOADED"|reason="slow")(?:,[^}]*)?\} (\d+)$/gm;
const OOM_POLL_MS = 50;
const EXHAUSTED_SPARE_BYTES = 64 * 1024;
const EXHAUST_MS_MAX = 5_000;

export const MEMORY_KINDS = {
  squeezeRole: faultKind({
    family: 'memory',
    effect: 'the memory limit of a role falls to little more than it uses, under a flood of pushes',
    recovery: 'the limit is lifted; if the kernel has killed the role, it is restarted',
    draw: (draw) => ({
      member: drawRole(draw),
      spareMib: between(draw.random, 8, 40),
      forMs: between(draw.random, 1_000, 5_000),
    }),
    target: ({ member }, cluster) => roleName(member, cluster),
    inject: squeeze,
  }),
  exhaustRole: faultKind({
    family: 'memory',
    effect: 'the memory limit of a role falls below what it uses, and the kernel kills it',
    recovery: 'the limit is lifted, and the role is restarted',
    draw: (draw) => ({ member: drawRole(draw) }),
    target: ({ member }, cluster) => roleName(member, cluster),
    async inject(_, run) {
      const groups = requireGroups(run);
      const before = await groups.kills(run.target);
      const pid = run.cluster.pid(run.target);
      const deadlineMs = performance.now() + EXHAUST_MS_MAX;
      flood(run);
      try {
        while ((await groups.kills(run.target)) === before && performance.now() < deadlineMs) {
          // Version 1 rejects a limit below what it cannot reclaim; the next allocation exceeds
          // this.
          const limit = (await groups.used(run.target)) + EXHAUSTED_SPARE_BYTES;
          await groups.setLimit(run.target, limit).catch(() => {});
          await run.sleep(OOM_POLL_MS);
        }
        // It has allocated nothing: the kernel would have killed it in the same way.
        if (run.cluster.pid(run.target) === pid) await run.cluster.kill(run.target);
      } finally {
        await groups.setLimit(run.target, undefined);
      }
      await run.untilReady(run.target);
    },
  }),
};

/** Live-only pushes all the time, and what the role does about it. */
async function squeeze(
  { spareMib, forMs }: { readonly spareMib: number; readonly forMs: number },
  run: FaultRun,
): Promise<void> {
  const groups = requireGroups(run);
  const { target, cluster, disturbance, log } = run;
  const [killsBefore, shedBefore] = [await groups.kills(target), await shedBy(target, cluster)];
  const used = await groups.used(target);
  await groups.setLimit(target, used + spareMib * MIB).catch(() => {});
  let shed = 0;
  try {
    for (let floods = 0; floods * FLOOD_INTERVAL_MS < forMs; floods++) {
      flood(run);
      await run.sleep(FLOOD_INTERVAL_MS);
    }
    shed = Math.max(0, (await shedBy(target, cluster)) - shedBefore);
  } finally {
    await groups.setLimit(target, undefined);
  }
  const isKilled = (await groups.kills(target)) > killsBefore;
  disturbance.squeeze = { shed, isKilled };
  const end = isKilled ? 'the kernel killed it' : 'it survived';
  log(`${target} had ${spareMib} MiB to spare: ${shed} times it shed load, and ${end}`);
  await run.untilReady(target);
}

/** Rejections of a role with OVERLOADED, and connections that it has closed as slow. */
async function shedBy(name: string, cluster: FaultRun['cluster']): Promise<number> {
  const signal = AbortSignal.timeout(METRICS_MS_MAX);
  const response = await fetch(`${cluster.httpUrl(name)}/metrics`, { signal }).catch(() => null);
  const metrics = (await response?.text().catch(() => '')) ?? '';
  return [...metrics.matchAll(SHED)].reduce((sum, [, count]) => sum + Number(count), 0);
}

function flood({ fleet, backend }: FaultRun): void {
  for (let i = 0; i < FLOOD_PUSHES; i++) {
    const { clientId } = fleet.devices[i % fleet.devices.length]!;
    backend.push(clientId, false, FLOOD_PUSH_BYTES);
  }
}

function requireGroups({ memory }: FaultRun): MemoryGroups {
  if (memory !== undefined) return memory;
  throw new Error('a fault of memory was scheduled; see possibleKinds');
}

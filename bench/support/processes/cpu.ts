/** Processor time of processes, from /proc/<pid>/stat. Linux only. */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { medianOf, rounded, sum } from '../statistics.js';

/** Processor time in microseconds. */
export interface CpuTime {
  readonly user: number;
  readonly system: number;
}

/** Unit of the kernel's figures (USER_HZ), the same on every architecture of Node.js. */
const TICK_US = 10_000;
/** A process that uses this share of a core has no time left: the roles have one busy thread. */
const FULL_CORE = 0.9;
/** So many of the machine's cores count as all of them. */
const FULL_MACHINE = 0.93;

export function cpuTime(pid: number): CpuTime {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name, in parentheses, may contain spaces; the state is field 3, utime and stime 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { user: Number(fields[11]) * TICK_US, system: Number(fields[12]) * TICK_US };
}

/** Names of processes with their pids, in the order of the output. */
export type Pids = Readonly<Record<string, number>>;
export type CpuTimes = Readonly<Record<string, CpuTime>>;

export interface UsedCpu {
  readonly seconds: number;
  readonly used: CpuTimes;
  /** Cores that all other processes of the machine used. They should use none. */
  readonly otherCores: number;
}

/** Reads the processor times now; the returned function returns what was used since then. */
export function watchCpu(pids: Pids): () => UsedCpu {
  const before = cpuTimes(pids);
  const machineBefore = machineUs();
  const from = performance.now();
  return () => {
    const seconds = (performance.now() - from) / 1_000;
    const all = machineUs() - machineBefore;
    const entries = Object.entries(cpuTimes(pids)).map(([name, { user, system }]) => [
      name,
      { user: user - before[name]!.user, system: system - before[name]!.system },
    ]);
    const used: CpuTimes = Object.fromEntries(entries);
    const others = all - sum(Object.values(used).map(totalUs));
    return { seconds, used, otherCores: Math.max(0, rounded(others / 1e6 / seconds, 2)) };
  };
}

/** Time in which the machine's cores were not idle, those taken by a hypervisor included. */
function machineUs(): number {
  const [line] = readFileSync('/proc/stat', 'utf8').split('\n');
  const [user, nice, system, , , irq, softirq, steal] = line!.split(/ +/).slice(1).map(Number);
  return sum([user!, nice!, system!, irq!, softirq!, steal!]) * TICK_US;
}

function cpuTimes(pids: Pids): CpuTimes {
  return Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, cpuTime(pid)]));
}

export function totalUs({ user, system }: CpuTime): number {
  return user + system;
}

/** Processor time per operation by process, in microseconds. */
export type CpuPerOperation = Readonly<Record<string, CpuTime & { readonly total: number }>>;

/** Microseconds per operation by process, and `server`: all processes except `loadNames`. */
export function perOperation(
  used: CpuTimes,
  operations: number,
  loadNames: readonly string[],
): CpuPerOperation {
  // On a machine that is far too busy there may be none.
  const share = (us: number) => rounded(us / Math.max(1, operations), 1);
  const each = (time: CpuTime) => ({
    user: share(time.user),
    system: share(time.system),
    total: share(totalUs(time)),
  });
  const server = Object.entries(used).filter(([name]) => !loadNames.includes(name));
  const ofServer = {
    user: sum(server.map(([, { user }]) => user)),
    system: sum(server.map(([, { system }]) => system)),
  };
  const all = Object.entries({ server: ofServer, ...used });
  return Object.fromEntries(all.map(([name, time]) => [name, each(time)]));
}

/** The limit of a saturating load: a process whose core is full, the machine, or neither. */
export function limitOf({ used, seconds, otherCores }: UsedCpu): string {
  const cores = (name: string) => totalUs(used[name]!) / 1e6 / seconds;
  const names = Object.keys(used).toSorted((a, b) => cores(b) - cores(a));
  const all = sum(names.map(cores));
  const busiest = names[0]!;
  if (cores(busiest) >= FULL_CORE) return `${busiest} (${rounded(cores(busiest), 2)} cores)`;
  const count = cpus().length;
  if (all + otherCores >= FULL_MACHINE * count) return `all ${count} cores`;
  return `no process: ${rounded(all, 2)} of ${count} cores are busy`;
}

/** The medians of several runs. */
export function medianCpu(runs: readonly { readonly cpuUs: CpuPerOperation }[]): CpuPerOperation {
  const names = Object.keys(runs[0]!.cpuUs);
  const of = (name: string, figure: keyof CpuPerOperation[string]) =>
    medianOf(runs, ({ cpuUs }) => cpuUs[name]![figure], 1);
  return Object.fromEntries(
    names.map((name) => [
      name,
      { user: of(name, 'user'), system: of(name, 'system'), total: of(name, 'total') },
    ]),
  );
}

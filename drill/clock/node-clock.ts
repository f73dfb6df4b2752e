/**
 * The clock of a role as a drill sets it: loaded before the role (`node --import`), it replaces the
 * wall clock of the process by one that differs from the machine's. The monotonic clock and timers
 * stay as they are, as when an operator sets the clock of a machine. No code of the role knows it.
 *
 * The file DRILL_CLOCK_FILE has two numbers: milliseconds by which the clock is ahead, and parts
 * per million by which it runs faster from now on. It is read again while the process runs.
 */
import { readFileSync } from 'node:fs';

const POLL_MS = 50;

const machineMs = Date.now.bind(Date);
const file = process.env.DRILL_CLOCK_FILE;
let setting = '';
let aheadMs = 0;
let driftPpm = 0;
let setAtMs = 0;

function nowMs(): number {
  return Math.floor(machineMs() + aheadMs + ((performance.now() - setAtMs) * driftPpm) / 1_000_000);
}

function read(path: string): void {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return; // It was never set.
  }
  if (text === setting) return;
  const [ahead, ppm] = text.split(' ').map(Number);
  if (ahead === undefined || ppm === undefined || Number.isNaN(ahead + ppm)) return;
  setting = text;
  aheadMs = ahead;
  driftPpm = ppm;
  setAtMs = performance.now();
}

if (file !== undefined) {
  read(file);
  setInterval(() => read(file), POLL_MS).unref();
  Date.now = nowMs;
  globalThis.Date = new Proxy(Date, {
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [nowMs()] : args, newTarget),
    apply: (target) => new target(nowMs()).toString(),
  });
}

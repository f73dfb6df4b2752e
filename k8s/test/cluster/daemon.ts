/** Processes that run for the whole test. They end with the namespaces of the test. */
import { spawn } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { Failure } from '../../../cli/terminal/failure.js';
import { until } from '../until.js';
import { LOGS } from './layout.js';

const READY_MS_MAX = 120_000;
const LAST_LINES = 40;

/**
 * Starts a process and waits until it is ready. Its output goes to `LOGS`.
 * @throws Failure with the last lines of its log if it exits first or misses the deadline
 */
export async function startDaemon(
  name: string,
  command: readonly [string, ...string[]],
  isReady: () => Promise<boolean>,
): Promise<void> {
  const log = `${LOGS}/${name}.log`;
  const output = openSync(log, 'a');
  const [file, ...args] = command;
  const child = spawn(file, args, { stdio: ['ignore', output, output] });
  let ended: string | undefined;
  child.on('error', (error) => {
    ended = error.message;
  });
  child.on('exit', (code, signal) => {
    ended = `${signal ?? code}`;
  });
  try {
    await until(`${name} is ready`, READY_MS_MAX, async () => ended !== undefined || isReady());
  } catch (error) {
    throw new Failure(`${(error as Error).message}\n${lastLinesOf(log)}`);
  }
  if (ended !== undefined) throw new Failure(`${name} exited (${ended})\n${lastLinesOf(log)}`);
}

function lastLinesOf(log: string): string {
  return readFileSync(log, 'utf8').trimEnd().split('\n').slice(-LAST_LINES).join('\n');
}

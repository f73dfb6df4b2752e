/** What runs for as long as the test does. Nothing stops it: it ends with its namespaces. */
import { spawn } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { Failure } from '../../cli/failure.js';
import { LOGS } from './layout.js';
import { until } from './until.js';

const READY_MS_MAX = 120_000;
const LAST_LINES = 40;

/**
 * Starts it and waits until it is ready; its output goes to a file.
 * @throws Failure with its last lines when it ends before, or takes too long
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
  if (ended !== undefined) throw new Failure(`${name} ended (${ended})\n${lastLinesOf(log)}`);
}

/** For whoever wants to know why. */
export function lastLinesOf(log: string): string {
  return readFileSync(log, 'utf8').trimEnd().split('\n').slice(-LAST_LINES).join('\n');
}

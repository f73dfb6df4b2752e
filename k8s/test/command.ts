/** Runs a command to its end. */
import { execFile } from 'node:child_process';
import { Failure } from '../../cli/failure.js';

/** Of a chart with its test output, or of a cluster's objects: far above what either prints. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** How much of its output explains why a command failed. */
const LAST_LINES = 30;

/**
 * @returns what it printed on standard output
 * @throws Failure with what it printed last
 */
export function run(command: string, args: readonly string[], input?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      command,
      args,
      { maxBuffer: OUTPUT_BYTES_MAX },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout);
        const said = `${stdout}${stderr}`.trimEnd().split('\n').slice(-LAST_LINES);
        const how = error.signal ?? error.code ?? error.message;
        reject(new Failure([`${command} ${args.join(' ')}: ${how}`, ...said].join('\n  ')));
      },
    );
    // A command may end without reading it; what became of that, its status says.
    child.stdin!.on('error', () => {});
    child.stdin!.end(input);
  });
}

/** @returns what it printed on both outputs; undefined when it succeeded */
export async function rejectionOf(
  command: string,
  args: readonly string[],
): Promise<string | undefined> {
  try {
    await run(command, args);
    return undefined;
  } catch (error) {
    if (error instanceof Failure) return error.message;
    throw error;
  }
}

/** Runs commands and captures their output. */
import { execFile } from 'node:child_process';
import { Failure } from '../../cli/terminal/failure.js';

/** Far above the output of Helm or kubectl. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** Lines of output that the message of a failure quotes. */
const LAST_LINES = 30;

/**
 * @returns standard output
 * @throws Failure with the last lines of its output if the exit status is not 0
 */
export function run(command: string, args: readonly string[], input?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      command,
      args,
      { maxBuffer: OUTPUT_BYTES_MAX },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout);
        const lines = `${stdout}${stderr}`.trimEnd().split('\n').slice(-LAST_LINES);
        const status = error.signal ?? error.code ?? error.message;
        reject(new Failure([`${command} ${args.join(' ')}: ${status}`, ...lines].join('\n  ')));
      },
    );
    // A command may exit without reading its input; its status shows whether that is an error.
    child.stdin!.on('error', () => {});
    child.stdin!.end(input);
  });
}

/** @returns the failure message; undefined if the command succeeded */
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

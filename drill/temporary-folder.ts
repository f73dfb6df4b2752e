/** A temporary folder that is removed even when this process is killed. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TemporaryFolder {
  readonly path: string;
  remove(): Promise<void>;
}

/**
 * Waits for the end of a pipe whose other end only this process holds. The processes that write
 * into the folder notice the death of this process in the same way, and have exited a second later.
 */
const GUARD = 'read -r _; [ -d "$0" ] || exit; sleep 1; rm -rf "$0"';

export async function makeTemporaryFolder(): Promise<TemporaryFolder> {
  const path = await mkdtemp(join(tmpdir(), 'longline-drill-'));
  const guard = spawn('sh', ['-c', GUARD, path], {
    stdio: ['pipe', 'ignore', 'ignore'],
    // Outside the terminal's process group: Ctrl-C must not stop it before this process.
    detached: true,
  });
  guard.unref();
  (guard.stdin as Socket).unref();
  return {
    path,
    async remove() {
      await rm(path, { recursive: true, force: true });
      guard.stdin!.destroy();
    },
  };
}

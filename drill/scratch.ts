/** A temporary folder that does not outlive us, not even when we are killed. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Scratch {
  readonly path: string;
  remove(): Promise<void>;
}

/**
 * Waits for the end of our pipe, which only we hold open. Whoever wrote into the folder learns of
 * our death at the same moment; a second later they are gone, too.
 */
const GUARD = 'read -r _; [ -d "$0" ] || exit; sleep 1; rm -rf "$0"';

export async function makeScratch(): Promise<Scratch> {
  const path = await mkdtemp(join(tmpdir(), 'longline-drill-'));
  const guard = spawn('sh', ['-c', GUARD, path], {
    stdio: ['pipe', 'ignore', 'ignore'],
    // Not of the terminal's process group: Ctrl-C must not end it before us.
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

/** The command line, as an operator or a script runs it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { packageRoot } from '../../../common/process/package-root.js';
import type { RunningCluster } from './running-cluster.js';

/** Runs `longline` with the addresses of the cluster in its environment. */
export async function longline({ cluster }: RunningCluster, ...args: string[]) {
  const env = {
    ...process.env,
    LONGLINE_ROUTER: cluster.routerAddress,
    LONGLINE_CONTROL: cluster.controlUrl,
  };
  const child = spawn(process.execPath, [join(packageRoot, 'dist/cli/main.js'), ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [stdout, stderr, [exit]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ]);
  return { exit: exit as number | null, stdout, stderr };
}

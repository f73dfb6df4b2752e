/** Processes of other servers. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const READY_MS_MAX = 20_000;
const POLL_MS = 50;

/** Resolves when the process listens on the port. */
export async function startServer(
  path: string,
  args: readonly string[],
  port: number,
): Promise<ChildProcess> {
  const child = spawn(path, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  // It must not outlive this process, however that ends.
  const onExit = () => child.kill('SIGKILL');
  process.once('exit', onExit);
  child.once('exit', () => process.off('exit', onExit));
  const deadlineMs = performance.now() + READY_MS_MAX;
  while (!(await isListening(port))) {
    if (child.exitCode !== null) throw new Error(`${path} ended with status ${child.exitCode}`);
    if (performance.now() > deadlineMs) throw new Error(`${path} does not listen on ${port}`);
    await sleep(POLL_MS);
  }
  return child;
}

export async function stopServer(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

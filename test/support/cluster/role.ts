/** Starts one role as a process with a given environment. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { packageRoot } from '../../../common/process/package-root.js';

export interface Role {
  readonly ports: Readonly<Record<string, number>>;
  readonly exitCode: number | null;
  signal(name: NodeJS.Signals): void;
  /** Resolves with the exit status. */
  readonly exited: Promise<number | null>;
  /** Kills the process if it still runs. */
  stop(): Promise<void>;
}

/** Resolves when the role listens. @throws Error if it exits first */
export async function startRole(role: string, env: NodeJS.ProcessEnv): Promise<Role> {
  const { PATH, LONGLINE_TRANSPORT } = process.env;
  const child: ChildProcess = fork(join(packageRoot, 'dist', role, 'main.js'), [], {
    env: { PATH, LONGLINE_TRANSPORT, LONGLINE_AUTH: 'none', LONGLINE_HOST: '127.0.0.1', ...env },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const listening = once(child, 'message') as Promise<[{ ports: Record<string, number> }]>;
  const first = await Promise.race([listening, exited]);
  if (!Array.isArray(first)) throw new Error(`${role} exited with ${first}`);
  return {
    ports: first[0].ports,
    get exitCode() {
      return child.exitCode;
    },
    signal: (name) => void child.kill(name),
    exited,
    async stop() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

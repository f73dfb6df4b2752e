/** One role as a process of its own, with the environment that a test gives it. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { packageRoot } from '../../../common/process/package-root.js';

export interface Role {
  readonly ports: Readonly<Record<string, number>>;
  readonly exitCode: number | null;
  signal(name: NodeJS.Signals): void;
  /** Resolves with the exit status when it is gone by itself. */
  readonly exited: Promise<number | null>;
  /** Ends it if it is still there. */
  stop(): Promise<void>;
}

/** Resolves when it listens. */
export async function startRole(role: string, env: NodeJS.ProcessEnv): Promise<Role> {
  const child: ChildProcess = fork(join(packageRoot, 'dist', role, 'main.js'), [], {
    env: { PATH: process.env.PATH, LONGLINE_AUTH: 'none', LONGLINE_HOST: '127.0.0.1', ...env },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const listening = once(child, 'message') as Promise<[{ ports: Record<string, number> }]>;
  const first = await Promise.race([listening, exited]);
  if (!Array.isArray(first)) throw new Error(`${role} has exited with ${first}`);
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

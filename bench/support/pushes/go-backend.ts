/** The backend in Go (bench/peers/backend), for Longline and for the servers beside it. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../../common/process/package-root.js';
import { LineProcess } from '../processes/line-process.js';
import type { Backend, Clients, FanOut, Load } from './backend.js';

const SOURCES = join(packageRoot, 'bench/peers/backend');
const PROGRAM = join(packageRoot, 'build/bench-backend');

export type GoServer = 'longline' | 'longline-stored' | 'longline-http' | 'centrifugo' | 'nats';

/** Returns the path of the compiled program, or in one line what is missing. */
export function buildGoBackend(): { path: string } | { missing: string } {
  const { status, stderr, error } = spawnSync('go', ['build', '-o', PROGRAM, '.'], {
    cwd: SOURCES,
    encoding: 'utf8',
  });
  if (error) return { missing: `the go command does not run: ${error.message}` };
  if (status === 0) return { path: PROGRAM };
  return { missing: `go build failed: ${stderr.trim().split('\n').at(-1)}` };
}

export class GoBackend implements Backend {
  readonly kind = 'go';
  readonly #process: LineProcess;

  constructor(program: string, server: GoServer, addresses: readonly string[]) {
    this.#process = new LineProcess('the backend', program, [server, addresses.join(',')]);
  }

  get pid(): number {
    return this.#process.pid;
  }

  async start(load: Load, clients: Clients): Promise<void> {
    await this.#ask({ do: 'start', ...load, ...clients });
  }

  async stop(): Promise<void> {
    const { failed, failure } = await this.#ask<{ failed: number; failure: string }>({
      do: 'stop',
    });
    if (failed > 0) throw new Error(`${failed} pushes were not written, the first: ${failure}`);
  }

  async fanOut(fanOut: FanOut, clients: Clients): Promise<{ startUs: number }> {
    const answer = await this.#ask<{ startUs: number; failure: string }>({
      do: 'fanOut',
      ...fanOut,
      ...clients,
    });
    if (answer.failure !== '') throw new Error(answer.failure);
    return answer;
  }

  close(): Promise<void> {
    return this.#process.stop();
  }

  async #ask<Answer>(command: object): Promise<Answer> {
    return JSON.parse(await this.#process.ask(JSON.stringify(command))) as Answer;
  }
}

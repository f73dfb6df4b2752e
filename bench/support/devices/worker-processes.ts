/** Child processes that answer requests over IPC, each one request at a time. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const ENDED = 'a process of the bench ended too early; its output says why';

export interface WorkerOptions {
  readonly count: number;
  /** Compiled module that each of them runs. */
  readonly module: URL;
  /** Options of Node.js. */
  readonly execArgv?: readonly string[];
  /**
   * Whether each runs in a session of its own. Linux shares the processor fairly among sessions
   * first (autogroups, sched(7)), and the priority of a process counts only within its session.
   */
  readonly ownSession?: boolean;
}

export class WorkerProcesses<Request extends object> {
  readonly #processes: readonly ChildProcess[];

  constructor({ count, module, execArgv = [], ownSession = false }: WorkerOptions) {
    this.#processes = Array.from({ length: count }, () =>
      fork(fileURLToPath(module), { execArgv: [...execArgv], detached: ownSession }),
    );
  }

  /**
   * Sends a request to the i-th process and resolves with its answer.
   * @throws Error when the process ends before it answers
   */
  async call<Answer>(i: number, request: Request): Promise<Answer> {
    const child = this.#processes[i]!;
    if (!child.connected) throw new Error(ENDED);
    const done = new AbortController();
    try {
      const answered = once(child, 'message', { signal: done.signal });
      const ended = once(child, 'exit', { signal: done.signal }).then(() => {
        throw new Error(ENDED);
      });
      child.send(request);
      return (await Promise.race([answered, ended]))[0] as Answer;
    } finally {
      done.abort();
    }
  }

  /** The same for all processes at once; `requestOf` may depend on the index of the process. */
  callAll<Answer>(requestOf: (i: number) => Request): Promise<Answer[]> {
    return Promise.all(this.#processes.map((_, i) => this.call<Answer>(i, requestOf(i))));
  }

  stop(): void {
    for (const child of this.#processes) child.kill();
  }
}

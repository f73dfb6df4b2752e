/**
 * One role as a child process: started, watched, started again in place when it dies (on the same
 * ports: they are in its environment), stopped. It announces itself over the IPC channel, and
 * stops by itself when that channel closes, so it does not outlive us (common/process/lifecycle.ts).
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { backoffMs } from '../../common/process/backoff.js';
import { Failure } from '../failure.js';
import { readLogLine } from './log-line.js';

/** A role that rejects its settings or its machine (EX_CONFIG): another try would end the same. */
const EXIT_CONFIG = 78;

/** A process that has lived this long did not die of its start: backoff begins anew. */
const STABLE_MS = 10_000;
const LISTENING_DEADLINE_MS = 30_000;
/** A little more than what a role grants itself before it gives up stopping. */
const STOP_DEADLINE_MS = 12_000;
/** How much of its output explains why a process did not start. */
const LAST_LINES = 5;

export interface RoleProcessOptions {
  readonly name: string;
  /** What to run, such as dist/edge/main.js. */
  readonly script: string;
  readonly env: NodeJS.ProcessEnv;
  /** Options of Node itself. */
  readonly nodeOptions: readonly string[];
  /** Whether to start it again when it dies. */
  readonly restart: boolean;
  /** Hears each line that it prints, and what happens to it. */
  readonly onOutput: (line: string) => void;
}

/** Called with nothing when the process listens, with the reason when it ends before. */
type OnStarted = (failure?: Failure) => void;

export class RoleProcess {
  readonly #options: RoleProcessOptions;
  #child: ChildProcess | undefined;
  /** Set while a dead process waits to be started again. */
  #restartTimer: NodeJS.Timeout | undefined;
  /** Deaths in a row without a stable life between. */
  #deaths = 0;
  #isWanted = false;

  constructor(options: RoleProcessOptions) {
    this.#options = options;
  }

  /** Undefined while no process is running. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** False when it was never started, was stopped, or died for good. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  /** Resolves when it listens. @throws Failure when it ends before, or takes too long */
  async start(): Promise<void> {
    if (this.#child !== undefined) return;
    clearTimeout(this.#restartTimer);
    this.#isWanted = true;
    await new Promise<void>((resolve, reject) => {
      const deadline = setTimeout(() => {
        reject(new Failure(`${this.#options.name} did not listen in ${LISTENING_DEADLINE_MS} ms`));
      }, LISTENING_DEADLINE_MS);
      this.#launch((failure) => {
        clearTimeout(deadline);
        if (failure) reject(failure);
        else resolve();
      });
    });
  }

  /** Resolves when the process is gone. What restarts will do so after this as after any death. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const gone = once(child, 'close');
    child.kill(signal);
    await gone;
  }

  /** At once: SIGTERM would let an edge drain first. */
  async stop(): Promise<void> {
    this.#isWanted = false;
    clearTimeout(this.#restartTimer);
    const deadline = setTimeout(() => this.killNow(), STOP_DEADLINE_MS);
    await this.kill('SIGINT');
    clearTimeout(deadline);
  }

  /** For whoever cannot wait. */
  killNow(): void {
    this.#isWanted = false;
    clearTimeout(this.#restartTimer);
    this.#child?.kill('SIGKILL');
  }

  #launch(onStarted?: OnStarted): void {
    const { name, script, env, restart, onOutput, nodeOptions } = this.#options;
    const child = fork(script, [], {
      env,
      execArgv: [...nodeOptions],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      // Not of the terminal's process group: Ctrl-C reaches us only, we stop in our order.
      detached: true,
    });
    this.#child = child;
    const bornAtMs = performance.now();
    const lastLines: string[] = [];
    let starting = onStarted;
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on('line', (line) => {
        onOutput(line);
        if (lastLines.push(readLogLine(line).text) > LAST_LINES) lastLines.shift();
      });
    }
    child.on('message', (message: { type?: string }) => {
      if (message.type !== 'listening') return;
      starting?.();
      starting = undefined;
    });
    child.once('close', (code, signal) => {
      this.#child = undefined;
      const how = signal ?? `exit status ${code}`;
      if (starting !== undefined) {
        this.#isWanted = false;
        starting(new Failure([`${name} did not start: ${how}`, ...lastLines].join('\n  ')));
      } else if (this.#isWanted && restart && code !== EXIT_CONFIG) {
        this.#deaths = performance.now() - bornAtMs > STABLE_MS ? 1 : this.#deaths + 1;
        const delayMs = backoffMs(this.#deaths);
        onOutput(`died (${how}), starts again in ${delayMs} ms`);
        this.#restartTimer = setTimeout(() => this.#launch(), delayMs);
      } else if (this.#isWanted) {
        this.#isWanted = false;
        onOutput(`died (${how}), stays dead`);
      }
    });
  }
}

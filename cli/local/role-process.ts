/**
 * One role as a child process: started, supervised, restarted in place when it dies (on the same
 * ports: they are in its environment), stopped. The role reports over the IPC channel that it
 * listens, and exits when that channel closes, so it does not outlive this process
 * (common/process/lifecycle.ts).
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { backoffMs } from '../../common/process/backoff.js';
import { Failure } from '../terminal/failure.js';
import { readLines } from './lines.js';
import { readLogLine } from './log-line.js';

/** EX_CONFIG: the role rejects its settings or its machine, and would do so again. */
const EXIT_CONFIG = 78;

/** A process that has run this long has started successfully: its backoff is reset. */
const STABLE_MS = 10_000;
const LISTENING_DEADLINE_MS = 60_000;
/** A little more than the shutdown deadline of a role itself. */
const STOP_DEADLINE_MS = 12_000;
/** Lines of output in the error message of a process that did not start. */
const LAST_LINES = 5;

export interface RoleProcessOptions {
  readonly name: string;
  /** Compiled module, such as dist/edge/main.js. */
  readonly script: string;
  /** A command and its arguments through which Node.js is started; it must become it (`exec`). */
  readonly command: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Options of Node.js. */
  readonly nodeOptions: readonly string[];
  /** Whether a dead process is started again. */
  readonly restart: boolean;
  /** Receives each line that it prints, and its deaths and restarts. */
  readonly onOutput: (line: string) => void;
}

/**
 * Called without an argument when the process listens, with the reason when it exits before that.
 */
type OnStarted = (failure?: Failure) => void;

export class RoleProcess {
  readonly #options: RoleProcessOptions;
  #child: ChildProcess | undefined;
  /** Set while a dead process is waiting for its restart. */
  #restartTimer: NodeJS.Timeout | undefined;
  /** Consecutive deaths without STABLE_MS of running in between. */
  #deaths = 0;
  #isWanted = false;

  constructor(options: RoleProcessOptions) {
    this.#options = options;
  }

  /** Undefined while no process is running. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Whether the process is running or will be restarted. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  /** Resolves when it listens. @throws Failure when it exits before that, or takes too long */
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

  /**
   * Resolves when the process has exited. With `restart` it is started again, as after any death.
   */
  async kill(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const exited = once(child, 'close');
    child.kill(signal);
    await exited;
  }

  /** Stops it for good, with SIGINT: on SIGTERM, an edge would drain first. */
  async stop(): Promise<void> {
    this.#isWanted = false;
    clearTimeout(this.#restartTimer);
    const deadline = setTimeout(() => this.killNow(), STOP_DEADLINE_MS);
    await this.kill('SIGINT');
    clearTimeout(deadline);
  }

  /** Kills it for good, without waiting for its exit. */
  killNow(): void {
    this.#isWanted = false;
    clearTimeout(this.#restartTimer);
    this.#child?.kill('SIGKILL');
  }

  #launch(onStarted?: OnStarted): void {
    const { name, script, command, env, restart, onOutput, nodeOptions } = this.#options;
    const [execPath, ...execArgv] = [...command, process.execPath, ...nodeOptions];
    const child = fork(script, [], {
      env,
      execPath: execPath!,
      execArgv,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      // Outside the terminal's process group: Ctrl-C reaches only this process, which stops roles
      // in order.
      detached: true,
    });
    this.#child = child;
    const startedAtMs = performance.now();
    const lastLines: string[] = [];
    let starting = onStarted;
    for (const stream of [child.stdout!, child.stderr!]) {
      readLines(stream, (line) => {
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
      const status = signal ?? `exit status ${code}`;
      if (starting !== undefined) {
        this.#isWanted = false;
        starting(new Failure([`${name} did not start: ${status}`, ...lastLines].join('\n  ')));
      } else if (this.#isWanted && restart && code !== EXIT_CONFIG) {
        this.#deaths = performance.now() - startedAtMs > STABLE_MS ? 1 : this.#deaths + 1;
        const delayMs = backoffMs(this.#deaths);
        onOutput(`died (${status}), restarts in ${delayMs} ms`);
        this.#restartTimer = setTimeout(() => this.#launch(), delayMs);
      } else if (this.#isWanted) {
        this.#isWanted = false;
        onOutput(`died (${status}), not restarted`);
      }
    });
  }
}

/** A child process that answers each line on its standard input with one line. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

export class LineProcess {
  readonly #name: string;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;
  readonly #exited: Promise<unknown>;

  constructor(name: string, command: string, args: readonly string[] = []) {
    this.#name = name;
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#exited = once(this.#child, 'exit');
    // A child that is gone is noticed by its exit.
    this.#child.stdin.on('error', () => {});
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** @throws Error when the process ends before its next line, or has ended */
  async nextLine(): Promise<string> {
    const done = new AbortController();
    const { signal } = done;
    try {
      const ended = this.#exited.then(() => {
        throw new Error(`${this.#name} ended too early; its output says why`);
      });
      return String((await Promise.race([once(this.#lines, 'line', { signal }), ended]))[0]);
    } finally {
      done.abort();
    }
  }

  /** Sends a command and resolves with its answer. One at a time. */
  ask(line: string): Promise<string> {
    const answered = this.nextLine();
    this.#child.stdin.write(`${line}\n`);
    return answered;
  }

  /** Resolves when it has exited, which the end of its standard input makes it do. */
  async stop(): Promise<void> {
    this.#child.stdin.end();
    await this.#exited;
  }
}

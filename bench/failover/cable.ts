/**
 * A cable that can be cut: one process in a network namespace of its own, and a veth pair to it. To
 * cut it, the namespace's end is set down, so that packets vanish and no process is told.
 */
import { execFileSync } from 'node:child_process';
import { commandObstacle, namespacesObstacle } from '../../drill/network/namespace.js';

/** A range for benchmarks (RFC 2544). */
const HOST = '198.19.77.1';
const FAR_HOST = '198.19.77.2';
const NEAR_END = 'llbench0';
const FAR_END = 'llbench1';

export class Cable {
  /** Address of this side. */
  readonly host = HOST;
  /** Address of the process in the namespace. */
  readonly farHost = FAR_HOST;
  readonly #namespace = `longline-bench-${process.pid}`;

  /** Why this machine cannot have one; undefined if it can. */
  static obstacle(): string | undefined {
    return namespacesObstacle() ?? commandObstacle('ip', '-V');
  }

  constructor() {
    ip('netns', 'add', this.#namespace);
    try {
      this.#connect();
    } catch (error) {
      // With its namespace, one end of the pair is deleted, and so is the other.
      ip('netns', 'del', this.#namespace);
      throw error;
    }
  }

  #connect(): void {
    const name = this.#namespace;
    ip('link', 'add', NEAR_END, 'type', 'veth', 'peer', 'name', FAR_END, 'netns', name);
    ip('addr', 'add', `${HOST}/24`, 'dev', NEAR_END);
    ip('link', 'set', NEAR_END, 'up');
    for (const args of [
      ['addr', 'add', `${FAR_HOST}/24`, 'dev', FAR_END],
      ['link', 'set', FAR_END, 'up'],
      ['link', 'set', 'lo', 'up'],
    ]) {
      ip('-n', name, ...args);
    }
  }

  /** The command through which a process starts in the namespace. */
  get command(): readonly string[] {
    return ['ip', 'netns', 'exec', this.#namespace];
  }

  cut(): void {
    ip('-n', this.#namespace, 'link', 'set', FAR_END, 'down');
  }

  /** Must be called when the process has ended. */
  remove(): void {
    // Deleting one end deletes both; the namespace may outlive its name for a moment.
    ip('link', 'del', NEAR_END);
    ip('netns', 'del', this.#namespace);
  }
}

function ip(...args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

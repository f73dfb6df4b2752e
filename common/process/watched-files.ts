/**
 * Files that may change while the process runs: keys, tokens, certificates. They are read every two
 * seconds and compared by content: a mounted secret changes through a symbolic link, which a file
 * watcher does not notice.
 *
 * Files that belong together, such as a certificate and its key, are watched together and applied
 * together: while they do not match, the previous contents stay in use.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { EnvironmentError } from './lifecycle.js';
import type { Logger } from './log.js';

const POLL_MS = 2_000;

/** Applies new contents, in the order of the paths; throws when they cannot be used. */
type Apply = (contents: readonly Buffer[]) => void | Promise<void>;

export class WatchedFiles {
  #digest = '';
  /** Problem of the last poll, so that it is logged once; '' if there was none. */
  #problem = '';
  #isPolling = false;
  readonly #timer: NodeJS.Timeout;

  private constructor(
    readonly paths: readonly string[],
    readonly apply: Apply,
    readonly log: Logger,
    pollMs: number,
  ) {
    this.#timer = setInterval(() => void this.#poll(), pollMs).unref();
  }

  /**
   * Resolves when the files have been applied for the first time.
   * @throws EnvironmentError when they cannot be read or used
   */
  static async open(
    paths: readonly string[],
    apply: Apply,
    log: Logger,
    pollMs = POLL_MS,
  ): Promise<WatchedFiles> {
    const files = new WatchedFiles(paths, apply, log, pollMs);
    try {
      await files.#applyChanges();
    } catch (error) {
      files.close();
      throw new EnvironmentError(`cannot use ${paths.join(', ')}: ${(error as Error).message}`);
    }
    return files;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Resolves with whether the contents had changed. */
  async #applyChanges(): Promise<boolean> {
    const contents = await Promise.all(this.paths.map((path) => readFile(path)));
    const hash = createHash('sha256');
    for (const content of contents) hash.update(`${content.length}:`).update(content);
    const digest = hash.digest('base64');
    if (digest === this.#digest) return false;
    await this.apply(contents);
    this.#digest = digest;
    return true;
  }

  async #poll(): Promise<void> {
    if (this.#isPolling) return;
    this.#isPolling = true;
    const { paths } = this;
    try {
      if (await this.#applyChanges()) this.log.info({ paths }, 'changed files applied');
      this.#problem = '';
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#problem) {
        this.log.error(
          { paths, problem: message },
          'changed files cannot be used; the previous contents stay in use',
        );
      }
      this.#problem = message;
    } finally {
      this.#isPolling = false;
    }
  }
}

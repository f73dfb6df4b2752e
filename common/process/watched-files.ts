/**
 * Files that may change while the process runs: keys, tokens, certificates. They are read again
 * every two seconds and compared by content, as a mounted secret changes by a symbolic link that
 * points elsewhere, of which a watcher of the file hears nothing.
 *
 * What belongs together, such as a certificate and its key, is watched together, and is taken as a
 * whole or not at all: while the two do not fit, what was taken before stays in force.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { EnvironmentError } from './lifecycle.js';
import type { Logger } from './log.js';

const LOOK_MS = 2_000;

/** Takes over new contents, in the order of the paths; throws when they are of no use. */
type Take = (contents: readonly Buffer[]) => void | Promise<void>;

export class WatchedFiles {
  #digest = '';
  /** What was wrong at the last look, so that it is said once; '' when nothing was. */
  #problem = '';
  #isLooking = false;
  readonly #timer: NodeJS.Timeout;

  private constructor(
    readonly paths: readonly string[],
    readonly take: Take,
    readonly log: Logger,
    lookMs: number,
  ) {
    this.#timer = setInterval(() => void this.#lookAgain(), lookMs).unref();
  }

  /**
   * Resolves when the files were taken for the first time.
   * @throws EnvironmentError when they cannot be read, or are of no use
   */
  static async open(
    paths: readonly string[],
    take: Take,
    log: Logger,
    lookMs = LOOK_MS,
  ): Promise<WatchedFiles> {
    const files = new WatchedFiles(paths, take, log, lookMs);
    try {
      await files.#look();
    } catch (error) {
      files.close();
      throw new EnvironmentError(`cannot use ${paths.join(', ')}: ${(error as Error).message}`);
    }
    return files;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<boolean> {
    const contents = await Promise.all(this.paths.map((path) => readFile(path)));
    const hash = createHash('sha256');
    for (const content of contents) hash.update(`${content.length}:`).update(content);
    const digest = hash.digest('base64');
    if (digest === this.#digest) return false;
    await this.take(contents);
    this.#digest = digest;
    return true;
  }

  async #lookAgain(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    const { paths } = this;
    try {
      if (await this.#look()) this.log.info({ paths }, 'files have changed and are in force');
      this.#problem = '';
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#problem) {
        this.log.error(
          { paths, problem: message },
          'changed files are of no use, the old ones stay',
        );
      }
      this.#problem = message;
    } finally {
      this.#isLooking = false;
    }
  }
}

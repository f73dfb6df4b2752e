/** The clocks of the processes of a drill, each of which can be set and made to drift. */
import { existsSync, writeFileSync } from 'node:fs';
import { open, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../common/process/package-root.js';
import {
  buildRedisClock,
  type ClockSetting,
  redisClockObstacle,
  shiftBytes,
} from './redis-clock.js';

export type { ClockSetting } from './redis-clock.js';

export const RIGHT: ClockSetting = { aheadMs: 0, driftPpm: 0 };

export class Clocks {
  /** To be loaded by a role before its own code. */
  readonly module = join(packageRoot, 'dist/drill/clock/node-clock.js');
  readonly #folder: string;
  /** Path of the library that sets the clocks of Redis; undefined: they cannot be set here. */
  readonly #library: string | undefined;

  private constructor(folder: string, library: string | undefined) {
    this.#folder = folder;
    this.#library = library;
  }

  /** @param folder for the settings; it must exist */
  static async open(folder: string): Promise<Clocks> {
    if ((await redisClockObstacle()) !== undefined) return new Clocks(folder, undefined);
    const library = join(folder, 'redis-clock.so');
    await buildRedisClock(library);
    return new Clocks(folder, library);
  }

  get canSetRedis(): boolean {
    return this.#library !== undefined;
  }

  /** Environment of a role. */
  envOf(role: string): NodeJS.ProcessEnv {
    return { DRILL_CLOCK_FILE: this.#fileOf(role) };
  }

  set(role: string, { aheadMs, driftPpm }: ClockSetting): Promise<void> {
    return replaceFile(this.#fileOf(role), `${aheadMs} ${driftPpm}`);
  }

  /** The command through which a Redis server is started. */
  redisCommand(name: string): string[] {
    if (this.#library === undefined) return [];
    const file = this.#fileOf(name);
    // A server that is started again keeps its clock.
    if (!existsSync(file)) writeFileSync(file, shiftBytes(RIGHT));
    return ['env', `LD_PRELOAD=${this.#library}`, `DRILL_CLOCK_FILE=${file}`];
  }

  async setRedis(name: string, setting: ClockSetting): Promise<void> {
    // In place: the server has mapped the file.
    const file = await open(this.#fileOf(name), 'r+');
    await file.write(shiftBytes(setting), 0, undefined, 0);
    await file.close();
  }

  #fileOf(name: string): string {
    return join(this.#folder, `clock-${name}`);
  }
}

let replacements = 0;

/** A reader sees the old content or the new one, never a part. Several faults may set one clock. */
async function replaceFile(path: string, content: string): Promise<void> {
  const next = `${path}.${++replacements}`;
  await writeFile(next, content);
  await rename(next, path);
}

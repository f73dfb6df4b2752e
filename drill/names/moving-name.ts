/** A name whose address a drill changes. Only processes with `env` and `module` know it. */
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../common/process/package-root.js';

export class MovingName {
  /** To be loaded by a role before its own code. */
  readonly module = join(packageRoot, 'dist/drill/names/node-names.js');
  readonly #file: string;

  private constructor(
    readonly name: string,
    folder: string,
  ) {
    this.#file = join(folder, `name-${name}`);
  }

  /** @param folder for the file; it must exist */
  static async create(name: string, address: string, folder: string): Promise<MovingName> {
    const created = new MovingName(name, folder);
    await created.moveTo(address);
    return created;
  }

  /** Environment of a role. */
  get env(): NodeJS.ProcessEnv {
    return { DRILL_NAME_FILE: this.#file };
  }

  /** A reader sees the old address or the new one, never a part. */
  async moveTo(address: string): Promise<void> {
    await writeFile(`${this.#file}.next`, `${this.name} ${address}`);
    await rename(`${this.#file}.next`, this.#file);
  }
}

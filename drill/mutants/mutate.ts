/** Creates copies of the compiled code with bugs. */
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../../cli/terminal/failure.js';
import type { Patch } from './mutants.js';

/** @throws Failure when `find` does not occur exactly once, because the code has changed */
export function patched(code: string, { file, find, replace }: Patch): string {
  const parts = code.split(find);
  if (parts.length !== 2) {
    throw new Failure(
      `${parts.length - 1} times in ${file}, expected once; update the mutant that finds: ${find}`,
    );
  }
  return parts.join(replace);
}

/**
 * Makes `to` a patched copy of the package, from which roles and compiled tests can be started.
 * @param from the package's folder
 */
export async function mutate(patches: readonly Patch[], from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  await cp(join(from, 'dist'), join(to, 'dist'), { recursive: true });
  await cp(join(from, 'package.json'), join(to, 'package.json'));
  await symlink(join(from, 'node_modules'), join(to, 'node_modules'));
  for (const patch of patches) {
    const path = join(to, 'dist', patch.file);
    await writeFile(path, patched(await readFile(path, 'utf8'), patch));
  }
}

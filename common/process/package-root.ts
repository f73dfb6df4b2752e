import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json: this file runs both from the sources (in tests) and from dist/. */
export const packageRoot = findAbove(dirname(fileURLToPath(import.meta.url)));

function findAbove(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : findAbove(dirname(folder));
}

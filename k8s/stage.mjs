/**
 * Copies the contents of an image into a folder: compiled code, the native transport, and the
 * production dependencies of the lock file. Deterministic: the same sources give the same bytes.
 *
 *   node k8s/stage.mjs <folder>
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const FILES = ['package.json', 'dist/build.json', 'k8s/health.mjs', 'build/transport.node'];
/** Folders of dist/; the others are tests and benches. */
const FOLDERS = ['canary', 'cli', 'common', 'control', 'drill', 'edge', 'proto', 'router'];
/** Files that are not read at run time. */
const UNUSED = /\.(md|markdown|map|d\.ts|d\.mts|d\.cts|tsbuildinfo)$/;

export function stage(to) {
  rmSync(to, { recursive: true, force: true });
  for (const file of FILES) copy(file, to);
  for (const folder of FOLDERS) copy(join('dist', folder), to);
  for (const path of productionPackages()) copy(path, to);
}

/** Packages that are not installed, such as those for other platforms, are skipped. */
function productionPackages() {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
  return Object.entries(packages)
    .filter(([path, { dev }]) => path !== '' && !dev && existsSync(join(ROOT, path)))
    .map(([path]) => path);
}

function copy(path, to) {
  mkdirSync(dirname(join(to, path)), { recursive: true });
  cpSync(join(ROOT, path), join(to, path), {
    recursive: true,
    filter: (source) => !UNUSED.test(source) && !isNested(source, path),
  });
}

/** Packages nested in a package have their own entries in the lock file. */
function isNested(source, path) {
  return source.slice(join(ROOT, path).length).startsWith('/node_modules');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , to] = process.argv;
  stage(to);
  console.log(`${to}: ${readdirSync(join(to, 'node_modules')).length} top-level packages`);
}

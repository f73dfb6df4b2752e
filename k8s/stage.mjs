/**
 * Puts into a folder what an image of Longline has: compiled code, the native transport, and the
 * dependencies that it takes to run, from the lock. Deterministic: the same sources give the same bytes.
 *
 *   node k8s/stage.mjs <folder>
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const FILES = ['package.json', 'k8s/health.mjs', 'build/transport.node'];
/** Of dist/; the rest is tests and benches. */
const FOLDERS = ['cli', 'common', 'control', 'drill', 'edge', 'proto', 'router'];
/** What nobody reads at run time. */
const IDLE = /\.(md|markdown|map|d\.ts|d\.mts|d\.cts|tsbuildinfo)$/;

export function stage(to) {
  rmSync(to, { recursive: true, force: true });
  for (const file of FILES) copy(file, to);
  for (const folder of FOLDERS) copy(join('dist', folder), to);
  for (const path of productionPackages()) copy(path, to);
}

/** A package that the system has nothing for, such as one of another platform, is not installed. */
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
    filter: (source) => !IDLE.test(source) && !isNested(source, path),
  });
}

/** Packages inside a package are entries of the lock of their own. */
function isNested(source, path) {
  return source.slice(join(ROOT, path).length).startsWith('/node_modules');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , to] = process.argv;
  stage(to);
  console.log(`${to}: ${readdirSync(join(to, 'node_modules')).length} packages at the top`);
}

/**
 * The layers of the code: which folder may import which, no import cycles, and bounds on the size
 * of files and folders. Imports are found with a regular expression in the tracked sources.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path/posix';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';

/** Top-level folders, and those that each may import besides itself. */
const IMPORTS: Readonly<Record<string, readonly string[]>> = {
  proto: [],
  client: [],
  common: ['proto'],
  edge: ['common', 'proto'],
  router: ['common', 'proto'],
  control: ['common', 'proto'],
  canary: ['common', 'proto', 'drill'],
  cli: ['common', 'edge', 'router', 'control', 'canary', 'client', 'proto', 'drill', 'scripts'],
  drill: ['common', 'edge', 'router', 'control', 'client', 'proto', 'cli', 'scripts'],
};

/** These may import every folder, and only they may import one another. */
const TOOLS = ['bench', 'test', 'k8s'];

/** Folders of a top-level folder, lowest first: each may import itself and those before it. */
const ORDERS: Readonly<Record<string, readonly string[]>> = {
  common: ['net', 'process', 'labels', 'auth', 'wire', 'transport', 'http', 'redis', 'cluster'],
  edge: ['report', 'protocol', 'shards', 'session', 'accept', 'drain'],
  router: ['lookup', 'push', 'events', 'front'],
  control: [
    ...['placement', 'planning', 'membership', 'pace', 'ledger', 'leadership', 'links', 'operator'],
    'dashboard',
  ],
  cli: ['terminal', 'control', 'local', 'doctor', 'commands'],
};

const FILE_LINES_MAX = 500;
/** Longer files, with the reason. */
const LONG_FILES: Readonly<Record<string, string>> = {
  'common/transport/native/transport.cc': 'one state machine over epoll; its states share one slot',
  'proto/longline/v1/operator.proto': 'one service and its messages',
  'test/common/transport/transport.test.ts': 'one contract, run against both transports',
};

const FOLDER_FILES_MAX = 15;

const SOURCE = /\.(tsx?|mjs|cc|h|py|proto)$/;
const GENERATED = /^proto\/gen\//;
const IMPORT = /\b(?:from|import)\s*\(?\s*'(\.[^']+)'/g;

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const sources = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => SOURCE.test(file) && !GENERATED.test(file) && existsSync(join(ROOT, file)));
const imports = new Map(
  sources.filter((file) => /\.tsx?$/.test(file)).map((file) => [file, importsOf(file)]),
);

describe.each(Object.entries(IMPORTS))('%s', (folder, others) => {
  test(`imports only ${[folder, ...others].join(', ')}`, () => {
    const wrong = edges().filter(
      ([from, to]) => topFolder(from) === folder && ![folder, ...others].includes(topFolder(to)),
    );
    expect(wrong.map(arrow)).toEqual([]);
  });
});

test('every top-level folder with sources has its imports listed', () => {
  const folders = new Set([...imports.keys()].map(topFolder));
  expect([...folders].filter((folder) => !TOOLS.includes(folder) && !(folder in IMPORTS))).toEqual(
    [],
  );
});

describe.each(Object.entries(ORDERS))('%s', (folder, order) => {
  test('has a place in the order for each of its folders', () => {
    const found = [...imports.keys()]
      .filter((file) => topFolder(file) === folder)
      .map(subfolder)
      .filter((name) => name !== undefined);
    expect(new Set(found)).toEqual(new Set(order));
  });

  test(`imports only downwards: ${order.toReversed().join(', ')}`, () => {
    const level = (file: string) => order.indexOf(subfolder(file) ?? '');
    const wrong = edges().filter(
      ([from, to]) =>
        topFolder(from) === folder &&
        topFolder(to) === folder &&
        level(from) !== -1 &&
        (level(to) === -1 || level(to) > level(from)),
    );
    expect(wrong.map(arrow)).toEqual([]);
  });
});

test('no file imports itself through others, types included', () => {
  expect(findCycles()).toEqual([]);
});

test(`no file has more than ${FILE_LINES_MAX} lines, except those listed`, () => {
  const long = sources.filter((file) => linesOf(file) > FILE_LINES_MAX);
  expect(long).toEqual(Object.keys(LONG_FILES).toSorted());
});

test(`no folder has more than ${FOLDER_FILES_MAX} sources side by side`, () => {
  const counts = new Map<string, number>();
  for (const file of sources) counts.set(dirname(file), (counts.get(dirname(file)) ?? 0) + 1);
  expect([...counts].filter(([, count]) => count > FOLDER_FILES_MAX)).toEqual([]);
});

/** Paths of the imported files, relative to the root; packages are left out. */
function importsOf(file: string): string[] {
  return [...read(file).matchAll(IMPORT)].map(([, path]) => {
    const found = join(dirname(file), path!).replace(/\.js$/, '.ts');
    return existsSync(join(ROOT, found)) ? found : found.replace(/\.ts$/, '.tsx');
  });
}

function edges(): [from: string, to: string][] {
  return [...imports].flatMap(([from, all]) => all.map((to): [string, string] => [from, to]));
}

/** Depth-first search: a file that is reached again while it is on the path closes a cycle. */
function findCycles(): string[] {
  const cycles: string[] = [];
  const path: string[] = [];
  const finished = new Set<string>();
  const visit = (file: string): void => {
    if (finished.has(file)) return;
    const start = path.indexOf(file);
    if (start !== -1) {
      cycles.push([...path.slice(start), file].join(' -> '));
      return;
    }
    path.push(file);
    for (const imported of imports.get(file) ?? []) visit(imported);
    path.pop();
    finished.add(file);
  };
  for (const file of imports.keys()) visit(file);
  return cycles;
}

function topFolder(file: string): string {
  return file.split('/', 1)[0]!;
}

/** Undefined for a file that stands in the top-level folder itself. */
function subfolder(file: string): string | undefined {
  const [, name, more] = file.split('/', 3);
  return more === undefined ? undefined : name;
}

function arrow([from, to]: [string, string]): string {
  return `${from} -> ${to}`;
}

function linesOf(file: string): number {
  return read(file).split('\n').length - 1;
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

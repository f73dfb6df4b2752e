/**
 * Builds the native transport with the compiler and the headers of Node that are there; downloads
 * nothing. Without one of them, on another system than Linux, or when the build fails, edges use the
 * portable transport, and one line says so.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

const SOURCES = 'common/transport/native';
const OUTPUT = 'build/transport.node';
/** N-API of this version is in every Node that Longline runs on. */
const NAPI_VERSION = 9;

/** What the build depends on beside its sources. */
export function toolchain() {
  return [process.version, process.arch, findCompiler(), findHeaders()].join(' ');
}

/** Returns whether it was built. */
export function buildNative(root, say, flags = []) {
  rmSync(join(root, OUTPUT), { force: true });
  const why = tryToBuild(root, flags);
  if (why !== undefined) say(`the portable transport is used: ${why}`);
  return why === undefined;
}

/** Returns why it could not be built. */
function tryToBuild(root, flags) {
  if (process.platform !== 'linux') return 'the native one is for Linux';
  const compiler = findCompiler();
  if (compiler === undefined) return 'there is no C++ compiler (c++, g++ or clang++)';
  const headers = findHeaders();
  if (headers === undefined) return 'there are no headers of Node (node_api.h)';
  mkdirSync(join(root, dirname(OUTPUT)), { recursive: true });
  const sources = readdirSync(join(root, SOURCES)).filter((name) => name.endsWith('.cc'));
  // Renamed when it is whole: a process may be loading the one before.
  const unfinished = `${OUTPUT}.${process.pid}`;
  const { status, stderr } = spawnSync(
    compiler,
    [
      '-std=c++17',
      '-O2',
      '-Wall',
      '-Wextra',
      '-fno-exceptions',
      '-fno-rtti',
      '-fvisibility=hidden',
      '-fPIC',
      '-shared',
      `-DNAPI_VERSION=${NAPI_VERSION}`,
      `-I${headers}`,
      ...flags,
      ...sources.map((name) => join(SOURCES, name)),
      '-o',
      unfinished,
    ],
    { cwd: root, encoding: 'utf8' },
  );
  if (status !== 0) return `${compiler} failed\n${stderr}`;
  renameSync(join(root, unfinished), join(root, OUTPUT));
  return undefined;
}

function findCompiler() {
  const hasVersion = (name) => spawnSync(name, ['--version']).status === 0;
  return ['c++', 'g++', 'clang++'].find(hasVersion);
}

/** Beside this Node, or where npm was told that they are. */
function findHeaders() {
  const prefixes = [dirname(dirname(process.execPath)), process.env.npm_config_nodedir];
  return prefixes
    .filter((prefix) => prefix !== undefined)
    .map((prefix) => join(prefix, 'include/node'))
    .find((folder) => existsSync(join(folder, 'node_api.h')));
}

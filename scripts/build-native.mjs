/**
 * Builds the native transport with the compiler and the headers of Node that are there; downloads
 * nothing. Without one of them, a library that came with the package is used, and where there is
 * none, the portable transport. One line says so.
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
  const why = tryToBuild(root, findCompiler(), OUTPUT, flags);
  if (why === undefined) return true;
  const used = existsSync(join(root, prebuiltPath(process.arch))) ? 'prebuilt native' : 'portable';
  say(`the ${used} transport is used: ${why}`);
  return false;
}

/** Where a library for machines without a compiler is; common/transport/native-transport.ts knows. */
function prebuiltPath(arch) {
  return `prebuilds/linux-${arch}/transport.node`;
}

/**
 * Builds for every architecture that there is a compiler for. N-API is the same in all versions of
 * Node, and what it needs of the C++ library is linked in, so each runs wherever its C library is
 * not older than this machine's.
 */
export function prebuild(root, say) {
  const compilers = { x64: 'x86_64-linux-gnu-g++', arm64: 'aarch64-linux-gnu-g++' };
  let built = 0;
  for (const [arch, compiler] of Object.entries(compilers)) {
    const output = prebuiltPath(arch);
    const flags = ['-static-libstdc++', '-static-libgcc', '-s'];
    const why = isThere(compiler)
      ? tryToBuild(root, compiler, output, flags)
      : `there is no ${compiler}`;
    say(why === undefined ? `${output}` : `not for ${arch}: ${why}`);
    if (why === undefined) built++;
  }
  return built > 0;
}

/** Returns why it could not be built. */
function tryToBuild(root, compiler, output, flags) {
  if (process.platform !== 'linux') return 'the native one is for Linux';
  if (compiler === undefined) return 'there is no C++ compiler (c++, g++ or clang++)';
  const headers = findHeaders();
  if (headers === undefined) return 'there are no headers of Node (node_api.h)';
  mkdirSync(join(root, dirname(output)), { recursive: true });
  const sources = readdirSync(join(root, SOURCES)).filter((name) => name.endsWith('.cc'));
  // Renamed when it is whole: a process may be loading the one before.
  const unfinished = `${output}.${process.pid}`;
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
  renameSync(join(root, unfinished), join(root, output));
  return undefined;
}

function findCompiler() {
  return ['c++', 'g++', 'clang++'].find(isThere);
}

function isThere(compiler) {
  return spawnSync(compiler, ['--version']).status === 0;
}

/** Beside this Node, or where npm was told that they are. */
function findHeaders() {
  const prefixes = [dirname(dirname(process.execPath)), process.env.npm_config_nodedir];
  return prefixes
    .filter((prefix) => prefix !== undefined)
    .map((prefix) => join(prefix, 'include/node'))
    .find((folder) => existsSync(join(folder, 'node_api.h')));
}

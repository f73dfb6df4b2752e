/**
 * Builds the native transport with the installed compiler and Node headers; downloads nothing.
 * Without a compiler or headers, Longline uses the prebuilt library of the package, or the portable
 * transport if there is none for this architecture. One line reports which.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

const SOURCES = 'common/transport/native';
const OUTPUT = 'build/transport.node';
/** Supported by every Node version that Longline runs on. */
const NAPI_VERSION = 9;

/** Everything that the build depends on besides its sources, as one string to compare. */
export function toolchain() {
  return [process.version, process.arch, findCompiler(), findHeaders()].join(' ');
}

/** Returns true if the library was built; otherwise reports why not. */
export function buildNative(root, say, flags = []) {
  rmSync(join(root, OUTPUT), { force: true });
  const error = build(root, findCompiler(), OUTPUT, flags);
  if (error === undefined) return true;
  const used = existsSync(join(root, prebuiltPath(process.arch))) ? 'prebuilt native' : 'portable';
  say(`using the ${used} transport: ${error}`);
  return false;
}

/** The library for machines without a compiler; common/transport/native-transport.ts loads it. */
function prebuiltPath(arch) {
  return `prebuilds/linux-${arch}/transport.node`;
}

/**
 * Builds for each architecture whose compiler is installed. N-API is stable across Node versions
 * and the C++ library is linked statically, so a result runs wherever the C library is at least as
 * new as this machine's.
 */
export function prebuild(root, say) {
  const compilers = { x64: 'x86_64-linux-gnu-g++', arm64: 'aarch64-linux-gnu-g++' };
  let built = 0;
  for (const [arch, compiler] of Object.entries(compilers)) {
    const output = prebuiltPath(arch);
    const flags = ['-static-libstdc++', '-static-libgcc', '-s'];
    const error = isInstalled(compiler)
      ? build(root, compiler, output, flags)
      : `${compiler} is not installed`;
    say(error === undefined ? output : `skipped ${arch}: ${error}`);
    if (error === undefined) built++;
  }
  return built > 0;
}

/** Returns why the build failed; undefined on success. */
function build(root, compiler, output, flags) {
  if (process.platform !== 'linux') return 'the native transport needs Linux';
  if (compiler === undefined) return 'no C++ compiler is installed (c++, g++ or clang++)';
  const headers = findHeaders();
  if (headers === undefined) return 'the Node headers are not installed (node_api.h)';
  mkdirSync(join(root, dirname(output)), { recursive: true });
  const sources = readdirSync(join(root, SOURCES)).filter((name) => name.endsWith('.cc'));
  // Renamed when complete: a process may be loading the previous library.
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
  return ['c++', 'g++', 'clang++'].find(isInstalled);
}

function isInstalled(compiler) {
  return spawnSync(compiler, ['--version']).status === 0;
}

/** Searches beside this Node, then npm's `nodedir`. */
export function findHeaders() {
  const prefixes = [dirname(dirname(process.execPath)), process.env.npm_config_nodedir];
  return prefixes
    .filter((prefix) => prefix !== undefined)
    .map((prefix) => join(prefix, 'include/node'))
    .find((folder) => existsSync(join(folder, 'node_api.h')));
}

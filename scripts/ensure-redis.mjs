/**
 * Ensures that `redis-server` is on the path. Plain JavaScript, because set-up runs it before
 * anything is compiled; the CLI imports the same file.
 */
import { spawnSync } from 'node:child_process';
import { installPackages } from './system-packages.mjs';

/** First major version with sharded pub/sub (SSUBSCRIBE, SPUBLISH). */
const MAJOR_MIN = 7;

const PACKAGES = {
  'apt-get': ['redis-server'],
  apk: ['redis'],
  dnf: ['redis'],
  yum: ['redis'],
  brew: ['redis'],
};

/**
 * Installs `redis-server` if it is missing and no password prompt is needed for that.
 * @param {(line: string) => void} say receives one line before an installation
 * @throws {Error} if there is no usable server; the message says what to do
 */
export function ensureRedis(say) {
  if (isNewEnough(findVersion())) return;
  const failure = findVersion() === undefined ? installPackages(PACKAGES, say) : undefined;
  const version = findVersion();
  if (isNewEnough(version)) return;
  const found =
    version === undefined ? 'redis-server is not installed' : `redis-server ${version} is too old`;
  throw new Error(
    `${found}: install Redis ${MAJOR_MIN}.0 or later, or set LONGLINE_REDIS_URL to a running one${failure ? ` (${failure})` : ''}`,
  );
}

/** Such as `7.0.15`; undefined without redis-server. Valkey prints the same format. */
function findVersion() {
  const { stdout } = spawnSync('redis-server', ['--version'], { encoding: 'utf8' });
  return /\bv=(\d[\d.]*)/.exec(stdout ?? '')?.[1];
}

function isNewEnough(version) {
  return version !== undefined && Number.parseInt(version, 10) >= MAJOR_MIN;
}

/**
 * Makes sure that a `redis-server` is on the path. Plain JavaScript, because set-up uses it before
 * anything is compiled; the CLI imports the same file.
 */
import { spawnSync } from 'node:child_process';
import { installPackages } from './system-packages.mjs';

/** The first version with sharded pub/sub (SSUBSCRIBE, SPUBLISH). */
const MAJOR_MIN = 7;

const PACKAGES = {
  'apt-get': ['redis-server'],
  apk: ['redis'],
  dnf: ['redis'],
  yum: ['redis'],
  brew: ['redis'],
};

/**
 * Returns when `redis-server` can be started; installs it where that is possible without asking.
 * @param {(line: string) => void} say hears what takes time
 * @throws {Error} one line that says what to do
 */
export function ensureRedis(say) {
  if (isNewEnough(findVersion())) return;
  const why = findVersion() === undefined ? installPackages(PACKAGES, say) : undefined;
  const version = findVersion();
  if (isNewEnough(version)) return;
  const found =
    version === undefined ? 'redis-server was not found' : `redis-server ${version} is too old`;
  throw new Error(
    `${found}: install Redis ${MAJOR_MIN}.0 or later, or set LONGLINE_REDIS_URL to one that runs${why ? ` (${why})` : ''}`,
  );
}

/** `7.0.15`, or undefined when there is no redis-server. Valkey's answer has the same form. */
function findVersion() {
  const { stdout } = spawnSync('redis-server', ['--version'], { encoding: 'utf8' });
  return /\bv=(\d[\d.]*)/.exec(stdout ?? '')?.[1];
}

function isNewEnough(version) {
  return version !== undefined && Number.parseInt(version, 10) >= MAJOR_MIN;
}

/**
 * A lock between processes: a file that names its holder. A holder that died leaves the file
 * behind, so whoever finds a dead holder's file puts its own in its place. Two may find it at
 * once: the last rename wins, and each looks again before it believes that it won.
 */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 100;

/**
 * Runs `work` while holding the lock.
 * @param {string} path
 * @param {() => void} onWait called once if somebody else holds it
 * @param {() => Promise<void> | void} work
 */
export async function withLock(path, onWait, work) {
  mkdirSync(dirname(path), { recursive: true });
  for (let tries = 0; !(await take(path)); tries++) {
    if (tries === 0) onWait();
    await sleep(POLL_MS);
  }
  try {
    await work();
  } finally {
    rmSync(path, { force: true });
  }
}

async function take(path) {
  const mine = String(process.pid);
  const claim = `${path}.${mine}`;
  writeFileSync(claim, mine);
  try {
    // Unlike creating and then writing it, this never leaves a file that names nobody.
    linkSync(claim, path);
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    const holder = read(path);
    if (holder === undefined || isAlive(Number(holder))) return false;
    renameSync(claim, path);
    await sleep(POLL_MS);
    return read(path) === mine;
  } finally {
    rmSync(claim, { force: true });
  }
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

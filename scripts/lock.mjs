/**
 * A lock between processes: a file that contains the pid of its owner. An owner that died leaves
 * the file behind, so a process that finds the file of a dead owner replaces it with its own. Two
 * processes may do that at once: the last rename wins, and each reads the file again to see which.
 */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 100;

/**
 * Runs `work` while holding the lock.
 * @param {string} path
 * @param {() => void} onWait called once if another process holds the lock
 * @param {() => Promise<void> | void} work
 */
export async function withLock(path, onWait, work) {
  mkdirSync(dirname(path), { recursive: true });
  for (let tries = 0; !(await acquire(path)); tries++) {
    if (tries === 0) onWait();
    await sleep(POLL_MS);
  }
  try {
    await work();
  } finally {
    rmSync(path, { force: true });
  }
}

async function acquire(path) {
  const mine = String(process.pid);
  const claim = `${path}.${mine}`;
  writeFileSync(claim, mine);
  try {
    // Atomic: unlike create and write, this never leaves an empty file.
    linkSync(claim, path);
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    const owner = read(path);
    if (owner === undefined || isAlive(Number(owner))) return false;
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

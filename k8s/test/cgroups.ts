/**
 * The cgroups below which the kubelets keep those of their pods. The only thing of the test that does
 * not end with its namespaces, so whoever started these removes it; with what an earlier test left
 * behind that could not.
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CGROUP, NODES } from './layout.js';

const MOUNTS = '/sys/fs/cgroup';

/** All pods together would weigh as much as one process beside them. This is as much as eight. */
const CPU_WEIGHTS = { 'cpu.shares': '8192', 'cpu.weight': '800' };

export function makeCgroups(): void {
  for (const path of paths()) {
    for (const { name } of NODES) mkdirSync(join(path, name), { recursive: true });
    for (const [file, weight] of Object.entries(CPU_WEIGHTS)) {
      if (existsSync(join(path, file))) writeFileSync(join(path, file), weight);
    }
  }
}

/** When no process is left in them. */
export function removeCgroups(): void {
  for (const path of paths()) if (existsSync(path)) removeTree(path);
}

function paths(): string[] {
  // Version 2 is one hierarchy, version 1 one per controller.
  if (existsSync(join(MOUNTS, 'cgroup.controllers'))) return [join(MOUNTS, CGROUP)];
  return readdirSync(MOUNTS).map((controller) => join(MOUNTS, controller, CGROUP));
}

/** The files in a cgroup are no files: only its folders can be, and must be, removed. */
function removeTree(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(path, entry.name));
  }
  rmdirSync(path);
}

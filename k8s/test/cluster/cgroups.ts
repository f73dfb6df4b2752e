/**
 * Parent cgroups of the kubelets' pods. They do not end with the namespaces of the test, so the
 * process that created the namespaces removes them, including those that an earlier run could not
 * remove.
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CGROUP, NODES } from './layout.js';

const MOUNTS = '/sys/fs/cgroup';

/**
 * By default all pods together weigh as much as one process beside them. This is eight times that.
 */
const CPU_WEIGHTS = { 'cpu.shares': '8192', 'cpu.weight': '800' };

export function makeCgroups(): void {
  for (const path of paths()) {
    for (const { name } of NODES) mkdirSync(join(path, name), { recursive: true });
    for (const [file, weight] of Object.entries(CPU_WEIGHTS)) {
      if (existsSync(join(path, file))) writeFileSync(join(path, file), weight);
    }
  }
}

/** Requires that no process is left in them. */
export function removeCgroups(): void {
  for (const path of paths()) if (existsSync(path)) removeTree(path);
}

function paths(): string[] {
  // Version 2 has one hierarchy, version 1 one per controller.
  if (existsSync(join(MOUNTS, 'cgroup.controllers'))) return [join(MOUNTS, CGROUP)];
  return readdirSync(MOUNTS).map((controller) => join(MOUNTS, controller, CGROUP));
}

/** Only the folders of a cgroup can be removed; its files are virtual. */
function removeTree(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(path, entry.name));
  }
  rmdirSync(path);
}

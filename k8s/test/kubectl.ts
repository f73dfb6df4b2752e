import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Failure } from '../../cli/failure.js';
import { packageRoot } from '../../common/process/package-root.js';
import { binary } from './binaries.js';
import { run } from './command.js';
import { KUBECONFIG } from './layout.js';

const script = pathToFileURL(join(packageRoot, 'scripts/ensure-helm.mjs')).href;
const { ensureHelm: ensure, findHelm } = (await import(script)) as {
  ensureHelm: (say: (line: string) => void) => void;
  findHelm: () => string | undefined;
};

/** @throws Failure when there is none, and none can be fetched */
export function ensureHelm(say: (line: string) => void): void {
  ensure(say);
  if (findHelm() === undefined) throw new Failure('this needs helm');
}

/** @returns what it printed @throws Failure with what it said */
export function helm(...args: string[]): Promise<string> {
  return run(findHelm()!, [`--kubeconfig=${KUBECONFIG}`, ...args]);
}

/** @returns what it printed @throws Failure with what it said */
export function kubectl(...args: string[]): Promise<string> {
  return run(binary('kubectl'), [`--kubeconfig=${KUBECONFIG}`, ...args]);
}

/** Of objects, as text. */
export function apply(objects: string, ...args: string[]): Promise<string> {
  const command = [`--kubeconfig=${KUBECONFIG}`, 'apply', ...args, '--filename=-'];
  return run(binary('kubectl'), command, objects);
}

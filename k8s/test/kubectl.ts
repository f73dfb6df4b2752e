import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Failure } from '../../cli/terminal/failure.js';
import { packageRoot } from '../../common/process/package-root.js';
import { binary } from './cluster/binaries.js';
import { KUBECONFIG } from './cluster/layout.js';
import { run } from './command.js';

const script = pathToFileURL(join(packageRoot, 'scripts/ensure-helm.mjs')).href;
const { ensureHelm: ensure, findHelm } = (await import(script)) as {
  ensureHelm: (say: (line: string) => void) => void;
  findHelm: () => string | undefined;
};

/** @throws Failure if Helm is neither installed nor can be fetched */
export function ensureHelm(say: (line: string) => void): void {
  ensure(say);
  if (findHelm() === undefined) throw new Failure('helm is not installed: install it');
}

/** @returns standard output @throws Failure with its output */
export function helm(...args: string[]): Promise<string> {
  return run(findHelm()!, [`--kubeconfig=${KUBECONFIG}`, ...args]);
}

/** @returns standard output @throws Failure with its output */
export function kubectl(...args: string[]): Promise<string> {
  return run(binary('kubectl'), [`--kubeconfig=${KUBECONFIG}`, ...args]);
}

/** @param objects YAML or JSON */
export function apply(objects: string, ...args: string[]): Promise<string> {
  const command = [`--kubeconfig=${KUBECONFIG}`, 'apply', ...args, '--filename=-'];
  return run(binary('kubectl'), command, objects);
}

import { binary } from './binaries.js';
import { run } from './command.js';
import { KUBECONFIG } from './layout.js';

/** @returns what it printed @throws Failure with what it said */
export function kubectl(...args: string[]): Promise<string> {
  return run(binary('kubectl'), [`--kubeconfig=${KUBECONFIG}`, ...args]);
}

export function helm(...args: string[]): Promise<string> {
  return run(binary('helm'), [`--kubeconfig=${KUBECONFIG}`, ...args]);
}

/** Creates or changes what the objects say. */
export function apply(...objects: readonly object[]): Promise<string> {
  const list = { apiVersion: 'v1', kind: 'List', items: objects };
  return run(
    binary('kubectl'),
    [`--kubeconfig=${KUBECONFIG}`, 'apply', '--filename=-'],
    JSON.stringify(list),
  );
}

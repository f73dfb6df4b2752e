/** Runs Helm on the chart. Tests skip if Helm is not installed. */
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from '@jest/globals';
import { packageRoot } from '../../common/process/package-root.js';

export const CHART = join(packageRoot, 'k8s/longline');
/** Imported by a variable: the module is plain JavaScript without types. */
const script = pathToFileURL(join(packageRoot, 'scripts/ensure-helm.mjs')).href;
const helm: string | undefined = (await import(script)).findHelm();

export const helmTest = helm === undefined ? test.skip : test;
if (helm === undefined) console.log('helm is not installed: tests of the chart are skipped');

export interface Rendered {
  readonly kind: string;
  readonly name: string;
  /** The object as YAML. */
  readonly text: string;
}

/**
 * Renders the chart, release `longline` in the namespace `push`.
 * @param args further arguments of `helm template`, such as `['--set', 'a=b']`
 */
export function render(args: readonly string[]): Rendered[] {
  const options = ['template', 'longline', CHART, '--namespace', 'push', ...args];
  const output = execFileSync(helm!, options, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  return output
    .split(/^---$/m)
    .filter((text) => /^kind:/m.test(text))
    .map((text) => ({
      kind: /^kind: (\S+)/m.exec(text)![1]!,
      name: /^ {2}name: (\S+)/m.exec(text)![1]!,
      text,
    }));
}

/** @returns the YAML of an object @throws Error unless exactly one has this kind and name */
export function find(rendered: readonly Rendered[], kind: string, name: string): string {
  const found = rendered.filter((each) => each.kind === kind && each.name === name);
  if (found.length === 1) return found[0]!.text;
  throw new Error(`${found.length} objects are ${kind} ${name}; expected one`);
}

/** @returns Helm's message when it rejects the values @throws Error when it accepts them */
export function rejection(args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(helm!, ['template', 'longline', CHART, ...args], {
    encoding: 'utf8',
  });
  if (status === 0) throw new Error(`rendered ${stdout.length} characters`);
  return stderr;
}

/** @throws Error with the output of `helm lint --strict` when it finds a problem */
export function lint(values: string): void {
  const { status, stdout, stderr } = spawnSync(helm!, ['lint', '--strict', CHART, '-f', values], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stdout + stderr);
}

/** Environment of a workload's first container: the value, or the source of a referenced value. */
export function envOf(text: string): Record<string, string> {
  const env: Record<string, string> = {};
  const entry = /- name: ([A-Z_]+)\n( +)(value: .*|valueFrom:(?:\n\2 +.*)*)/g;
  for (const [, name, , rest] of text.matchAll(entry)) {
    env[name!] = rest!.replace(/^value: "?(.*?)"?$/, '$1').replace(/\s+/g, ' ');
  }
  return env;
}

/** The build of Longline that this process runs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from './package-root.js';

export interface BuildInfo {
  readonly version: string;
  /** Release of Node.js, such as `24.1.0`. */
  readonly node: string;
  /** Git commit of the sources; empty: it was not recorded at the build. */
  readonly commit: string;
}

export const buildInfo: BuildInfo = {
  version: readJson('package.json').version ?? '',
  node: process.versions.node,
  commit: readJson('dist/build.json').commit ?? '',
};

/** Such as `0.1.0 (commit 1a2b3c4, Node.js 24.1.0)`. */
export function describeBuild({ version, node, commit }: BuildInfo): string {
  const details = [...(commit ? [`commit ${commit.slice(0, 7)}`] : []), `Node.js ${node}`];
  return `${version} (${details.join(', ')})`;
}

/** Empty if the file does not exist: a compiler alone does not write `dist/build.json`. */
function readJson(path: string): { version?: string; commit?: string } {
  try {
    return JSON.parse(readFileSync(join(packageRoot, path), 'utf8'));
  } catch {
    return {};
  }
}

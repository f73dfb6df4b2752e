/** The Helm that renders the chart and runs its tests. */
import { ensureTool, findTool } from './fetched-tools.mjs';

/** @returns {string | undefined} the command to run; undefined if Helm is not installed */
export function findHelm() {
  return findTool('helm');
}

/** @param {(line: string) => void} say receives progress and the reason of a failure */
export function ensureHelm(say) {
  ensureTool('helm', say);
}

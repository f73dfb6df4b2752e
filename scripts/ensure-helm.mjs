/** The Helm that the tests of the chart use, and what renders from it. */
import { ensureTool, findTool } from './fetched-tools.mjs';

/** @returns {string | undefined} the command to run; undefined where there is none */
export function findHelm() {
  return findTool('helm');
}

/** @param {(line: string) => void} say */
export function ensureHelm(say) {
  ensureTool('helm', say);
}

/**
 * Order of the test files in CI, where no earlier run tells their durations: first the files that
 * start processes, which take longest. One that started last would make the whole run wait for it.
 */
import { statSync } from 'node:fs';

const STARTS_PROCESSES = /\/test\/(cluster|drill|cli|k8s)\//;

export default class LongestFirst {
  sort(tests) {
    const weightOf = ({ path }) =>
      (STARTS_PROCESSES.test(path) ? Number.MAX_SAFE_INTEGER / 2 : 0) + statSync(path).size;
    return tests.toSorted((a, b) => weightOf(b) - weightOf(a));
  }

  cacheResults() {}
}

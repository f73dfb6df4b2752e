/**
 * Names of groups: 1 to 256 bytes of UTF-8 without control characters. Without `*`, `+` and `#`,
 * which are wildcards elsewhere, so that no caller takes a name for a pattern.
 */
import { type Rejection, rejection } from '../process/errors.js';
import { nameProblem } from './client-id.js';

const WILDCARD = /[*+#]/;

/** Returns a rejection, or undefined for a valid name. */
export function rejectGroup(group: string): Rejection | undefined {
  const problem =
    nameProblem(group) ?? (WILDCARD.test(group) ? 'contains a wildcard (*, + or #)' : undefined);
  if (problem === undefined) return undefined;
  const message = `the name of the group ${problem}; it must be 1 to 256 bytes of UTF-8 without control characters and wildcards`;
  return rejection('GROUP_INVALID', message);
}

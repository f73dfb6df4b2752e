/**
 * The groups that a device may join and leave by itself: names, and starts of names followed by
 * `*`, one on a line. A name of a group has no `*` and no line ends. Pure.
 */
import { type Rejection, rejection } from '../../process/errors.js';

/** '' permits no group. */
export type GroupClaims = string;

export const NO_GROUPS: GroupClaims = '';
export const ALL_GROUPS: GroupClaims = '*';

/** Maximum bytes of the claims of one token: a ticket repeats them. */
export const GROUP_CLAIMS_BYTES_MAX = 1_024;

/** C0, DEL and C1 controls. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** Reads the claim of a token: an array of strings, or one string. */
export function readGroupsClaim(claim: unknown): GroupClaims | Rejection {
  if (claim === undefined || claim === null) return NO_GROUPS;
  const entries = Array.isArray(claim) ? claim : [claim];
  const isName = (entry: unknown): entry is string =>
    typeof entry === 'string' && entry !== '' && !CONTROL.test(entry) && entry.isWellFormed();
  if (!entries.every(isName)) return invalid('is not a list of names');
  const claims = [...new Set(entries)].join('\n');
  const bytes = Buffer.byteLength(claims);
  if (bytes <= GROUP_CLAIMS_BYTES_MAX) return claims;
  return invalid(`has ${bytes} bytes; the maximum is ${GROUP_CLAIMS_BYTES_MAX}`);
}

/** Returns a rejection, or undefined if the device may join and leave the group. */
export function rejectClaim(claims: GroupClaims, group: string): Rejection | undefined {
  const isPermitted = claims
    .split('\n')
    .some((claim) =>
      claim.endsWith('*') ? group.startsWith(claim.slice(0, -1)) : claim !== '' && claim === group,
    );
  if (isPermitted) return undefined;
  const message = `the token does not permit the group ${JSON.stringify(group.slice(0, 80))}`;
  return rejection('PERMISSION_DENIED', message);
}

function invalid(problem: string): Rejection {
  return rejection('GROUP_INVALID', `the claim of groups in the token ${problem}`);
}

/**
 * The clients that members of a group stand for: a user for all its devices, or for the client of
 * its name if it has none. A device whose user is a member, too, has its place there. Pure.
 */
import { clientIdOf, deviceOf, userOf } from '../../../common/wire/client-id.js';

export interface Expanded {
  readonly clientIds: readonly string[];
  /** Users with more devices than are allowed. */
  readonly tooMany: readonly string[];
}

/** Users among some members, and those of devices among them, who may be members, too. */
export function usersOf(members: readonly string[]): { members: string[]; others: string[] } {
  const users = new Set(members.filter((member) => deviceOf(member) === undefined));
  const ofDevices = new Set(members.map(userOf));
  return { members: [...users], others: [...ofDevices].filter((user) => !users.has(user)) };
}

/** @param devicesOf devices of a user that is a member, one more than `devicesMax` at most */
export function expandMembers(
  members: readonly string[],
  devicesOf: (user: string) => readonly string[] | undefined,
  devicesMax: number,
): Expanded {
  const clientIds: string[] = [];
  const tooMany: string[] = [];
  for (const member of members) {
    const user = userOf(member);
    const devices = devicesOf(user) ?? [];
    const device = deviceOf(member);
    if (devices.length > devicesMax) {
      if (device === undefined) tooMany.push(user);
      else clientIds.push(member);
    } else if (device !== undefined) {
      if (!devices.includes(device)) clientIds.push(member);
    } else if (devices.length === 0) clientIds.push(user);
    else for (const each of devices) clientIds.push(clientIdOf(user, each));
  }
  return { clientIds, tooMany };
}

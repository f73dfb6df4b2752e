/**
 * The query of `GET /connect` on routers and edges:
 *
 *   clientId     percent-encoded, required
 *   lastEventId  the newest id that the device has, for clients that cannot set the header
 *   token        a JWT, for clients that cannot set the header; never forwarded
 *   maxBytes     size of the largest message that the client can receive, in bytes
 *   ticket       a resume ticket instead of a token
 *   labels       labels of the connection, such as app=ios,version=5.2
 *   groups       names of groups to join, each percent-encoded, with commas between them
 *   epoch        `<incarnation>-<epoch>` of the assignment under which the device was routed here
 *
 * `epoch` prevents redirect loops. An edge that does not own the shard redirects a device only when
 * its own assignment is newer than `epoch`; else it serves the device as a guest. Each further
 * redirect therefore happens under a strictly newer assignment, and two edges cannot redirect a
 * device to each other. A browser that reconnects hours later to an edge that has since lost the
 * shard is still redirected, as the `epoch` in its URL is older.
 */

import type { Credentials } from '../auth/authenticator.js';
import { type Rejection, rejection } from '../process/errors.js';
import { parseEncodedClientId } from './client-id.js';
import { rejectGroup } from './group-name.js';
import { type Position, parsePosition, positionText } from './position.js';

export interface ConnectQuery {
  readonly clientId: string;
  /** Not validated; '' when it is not given. */
  readonly lastEventId: string;
  readonly routedUnder: Position | undefined;
  /** Larger pushes are skipped. */
  readonly maxBytes?: number | undefined;
  /** Decoded, not validated. */
  readonly labels?: string | undefined;
  /** Valid names. */
  readonly groups?: readonly string[] | undefined;
}

/** The query of a connect request with its credentials. */
export interface ConnectTarget extends ConnectQuery {
  readonly credentials: Credentials;
}

/** @param target the request target: path and query, not decoded */
export function parseConnectQuery(target: string): ConnectTarget | Rejection {
  let clientId: string | undefined;
  let lastEventId = '';
  let routedUnder: Position | undefined;
  let maxBytes: number | undefined;
  let labels: string | undefined;
  let groups: readonly string[] | undefined;
  const credentials: { token: string | undefined; ticket: string | undefined } = {
    token: undefined,
    ticket: undefined,
  };
  const start = target.indexOf('?');
  for (const pair of start < 0 ? [] : target.slice(start + 1).split('&')) {
    const equals = pair.indexOf('=');
    const name = equals < 0 ? pair : pair.slice(0, equals);
    const value = equals < 0 ? '' : pair.slice(equals + 1);
    if (name === 'clientId') {
      if (clientId !== undefined) return rejection('REQUEST_MALFORMED', 'clientId occurs twice');
      const parsed = parseEncodedClientId(value);
      if (typeof parsed !== 'string') return parsed;
      clientId = parsed;
    } else if (name === 'lastEventId') {
      lastEventId = value;
    } else if (name === 'epoch') {
      routedUnder = parsePosition(value);
      if (routedUnder === undefined) {
        return rejection('REQUEST_MALFORMED', 'epoch must be <incarnation>-<epoch>');
      }
    } else if (name === 'maxBytes') {
      maxBytes = parseMaxBytes(value);
      if (maxBytes === undefined) return rejection('REQUEST_MALFORMED', MAX_BYTES_EXPECTED);
    } else if (name === 'labels') {
      if (labels !== undefined) return rejection('REQUEST_MALFORMED', 'labels occurs twice');
      labels = decodeText(value);
      if (labels === undefined) {
        return rejection('LABELS_INVALID', 'the labels are not percent-encoded UTF-8');
      }
    } else if (name === 'groups') {
      if (groups !== undefined) return rejection('REQUEST_MALFORMED', 'groups occurs twice');
      const parsed = parseGroups(value);
      if ('code' in parsed) return parsed;
      groups = parsed;
    } else if (name === 'token' || name === 'ticket') {
      if (credentials[name] !== undefined) {
        return rejection('REQUEST_MALFORMED', `${name} occurs twice`);
      }
      // Neither contains characters that need encoding; an encoded one is invalid.
      credentials[name] = value;
    }
  }
  if (clientId === undefined) {
    return rejection('CLIENT_ID_INVALID', 'the query has no clientId; use GET /connect?clientId=…');
  }
  const read = { clientId, lastEventId, routedUnder, credentials };
  return {
    ...read,
    ...(maxBytes !== undefined && { maxBytes }),
    ...(labels !== undefined && { labels }),
    ...(groups !== undefined && { groups }),
  };
}

/** Maximum groups that one request may join; each is stored before the device is connected. */
const GROUPS_MAX = 16;

function parseGroups(value: string): readonly string[] | Rejection {
  const encoded = value.split(',');
  if (encoded.length > GROUPS_MAX) {
    const message = `the query has ${encoded.length} groups; the maximum is ${GROUPS_MAX}`;
    return rejection('REQUEST_MALFORMED', message);
  }
  const groups: string[] = [];
  for (const each of encoded) {
    const group = decodeText(each);
    if (group === undefined) {
      return rejection('GROUP_INVALID', 'the groups are not percent-encoded UTF-8');
    }
    const invalid = rejectGroup(group);
    if (invalid !== undefined) return invalid;
    groups.push(group);
  }
  return groups;
}

/** Labels and groups have no plus: it stands for a space, as browsers encode one. */
function decodeText(value: string): string | undefined {
  try {
    return decodeURIComponent(value.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}

/** Message for a value that `parseMaxBytes` rejects. */
export const MAX_BYTES_EXPECTED = 'maxBytes must be a number of bytes from 256 to 2147483647';

/**
 * Returns undefined for anything but 256 to 2147483647: a smaller maximum would skip every push.
 */
export function parseMaxBytes(text: string): number | undefined {
  const bytes = /^[1-9]\d{0,9}$/.test(text) ? Number(text) : 0;
  return bytes >= 256 && bytes < 2 ** 31 ? bytes : undefined;
}

/**
 * Builds the URL at which a device connects to its edge.
 * @param routedUnder version of the assignment that names this edge as the owner
 * @param ticket resume ticket, so that the device need not send its token again
 */
export function connectUrl(
  advertisedUrl: string,
  { clientId, lastEventId, maxBytes, labels, groups }: ConnectQuery,
  routedUnder: Position,
  ticket?: string,
): string {
  const cursor = lastEventId === '' ? '' : `&lastEventId=${lastEventId}`;
  const limit = maxBytes === undefined ? '' : `&maxBytes=${maxBytes}`;
  const labelled = labels === undefined ? '' : `&labels=${encodeURIComponent(labels)}`;
  const joining = groups === undefined ? '' : `&groups=${groups.map(encodeURIComponent).join(',')}`;
  const client = `clientId=${encodeURIComponent(clientId)}${cursor}${limit}${labelled}${joining}`;
  const query = `${client}&epoch=${positionText(routedUnder)}`;
  const credentials = ticket === undefined ? '' : `&ticket=${ticket}`;
  return `${advertisedUrl}/connect?${query}${credentials}`;
}

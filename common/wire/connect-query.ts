/**
 * The query of `GET /connect`, which router and edge read alike:
 *
 *   clientId     percent-encoded, required
 *   lastEventId  the newest id that the device has, for clients that cannot set the header
 *   token        a JWT, for clients that cannot set the header; never passed on
 *   ticket       what stands in for a token that was checked before
 *   epoch        `<incarnation>-<epoch>` of the assignment under which somebody sent the device here
 *
 * `epoch` is what ends redirects. An edge that does not own the shard redirects a device only when
 * its own assignment is newer than the one that sent it; else it serves the device as a guest. So
 * every further redirect happens under a strictly newer assignment, and no two edges can send a
 * device back and forth; yet a browser that comes back hours later to an edge which has long lost
 * the shard is redirected again, although its URL still says where it was once sent.
 */

import type { Credentials } from '../auth/authenticator.js';
import type { Position } from '../cluster/assignment.js';
import { type Rejection, rejection } from '../process/errors.js';
import { parseEncodedClientId } from './client-id.js';

export interface ConnectQuery {
  readonly clientId: string;
  /** As it came: '' when it is not given, and anything at all when it is. */
  readonly lastEventId: string;
  readonly sentUnder: Position | undefined;
}

/** A request to connect: who it says that it is, and how it would show that. */
export interface ConnectTarget extends ConnectQuery {
  readonly credentials: Credentials;
}

const POSITION = /^(\d{1,15})-(\d{1,15})$/;

/** @param target the request target: path and query as they came */
export function parseConnectQuery(target: string): ConnectTarget | Rejection {
  let clientId: string | undefined;
  let lastEventId = '';
  let sentUnder: Position | undefined;
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
      if (clientId !== undefined) return rejection('REQUEST_MALFORMED', 'clientId is given twice');
      const parsed = parseEncodedClientId(value);
      if (typeof parsed !== 'string') return parsed;
      clientId = parsed;
    } else if (name === 'lastEventId') {
      lastEventId = value;
    } else if (name === 'epoch') {
      sentUnder = parsePosition(value);
      if (sentUnder === undefined) {
        return rejection('REQUEST_MALFORMED', 'epoch is not <incarnation>-<epoch>');
      }
    } else if (name === 'token' || name === 'ticket') {
      if (credentials[name] !== undefined) {
        return rejection('REQUEST_MALFORMED', `${name} is given twice`);
      }
      // Neither has a character that would be encoded; what was encoded is not good.
      credentials[name] = value;
    }
  }
  if (clientId === undefined) {
    return rejection('CLIENT_ID_INVALID', 'the query has no clientId: GET /connect?clientId=…');
  }
  return { clientId, lastEventId, sentUnder, credentials };
}

/** Reads `<incarnation>-<epoch>`. */
export function parsePosition(text: string): Position | undefined {
  const match = POSITION.exec(text);
  return match === null ? undefined : { incarnation: Number(match[1]), epoch: Number(match[2]) };
}

export function positionText({ incarnation, epoch }: Position): string {
  return `${incarnation}-${epoch}`;
}

/**
 * Where a device that was sent away under `position` finds its edge.
 * @param ticket with which it need not show its token again, where tokens are asked for
 */
export function connectUrl(
  advertisedUrl: string,
  { clientId, lastEventId }: ConnectQuery,
  sentUnder: Position,
  ticket?: string,
): string {
  const cursor = lastEventId === '' ? '' : `&lastEventId=${lastEventId}`;
  const query = `clientId=${encodeURIComponent(clientId)}${cursor}&epoch=${positionText(sentUnder)}`;
  const shown = ticket === undefined ? '' : `&ticket=${ticket}`;
  return `${advertisedUrl}/connect?${query}${shown}`;
}

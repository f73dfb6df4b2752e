/** `longline presence` and `longline disconnect`: the connections of a client or of a user. */
import type {
  DisconnectResponse,
  GetPresenceResponse,
} from '../../../proto/gen/longline/v1/push.js';
import { connectedSince, plural } from '../format.js';
import { CALL_SLACK_MS, callRouter, type RouterOptions } from './router-call.js';

const INCOMPLETE = 'an edge that could have a connection did not answer in time';

export interface ClientOptions extends RouterOptions {
  /** The name is that of a user. */
  readonly user: boolean;
}

/**
 * Prints the connections and returns the exit status: 0 when there is one.
 * @throws Failure when the router rejects or cannot be reached
 */
export async function presence(name: string, options: ClientOptions): Promise<number> {
  const { connections, complete } = await callRouter<GetPresenceResponse>(
    options,
    CALL_SLACK_MS,
    (client, ...rest) => client.getPresence(requestFor(name, options), ...rest),
  );
  if (options.json) console.log(JSON.stringify({ ...named(name, options), connections, complete }));
  else {
    for (const { edgeId, protocol, remoteAddress, guest, labels, ...connected } of connections) {
      const since = connectedSince(connected.connectedAtMs, connected.connectedForMs);
      const role = guest ? ' as a guest' : '';
      const who = options.user ? `${connected.clientId} ` : '';
      const labelled = labels === '' ? '' : ` with labels ${labels}`;
      console.log(
        `${who}connected to ${edgeId}${role} over ${protocol} from ${remoteAddress} since ${since}` +
          labelled,
      );
    }
    if (connections.length === 0) console.log(complete ? 'not connected' : 'no connection found');
    if (!complete) console.log(INCOMPLETE);
  }
  return connections.length > 0 ? 0 : 1;
}

/**
 * Closes the connections and returns the exit status: 0 when there was one.
 * @throws Failure when the router rejects or cannot be reached
 */
export async function disconnect(name: string, options: ClientOptions): Promise<number> {
  const { closed, complete } = await callRouter<DisconnectResponse>(
    options,
    CALL_SLACK_MS,
    (client, ...rest) => client.disconnect(requestFor(name, options), ...rest),
  );
  if (options.json) console.log(JSON.stringify({ ...named(name, options), closed, complete }));
  else {
    console.log(`closed ${plural(closed, 'connection')}`);
    if (!complete) console.log(INCOMPLETE);
  }
  return closed > 0 ? 0 : 1;
}

function requestFor(name: string, { user }: ClientOptions): { clientId: string; user: string } {
  return user ? { clientId: '', user: name } : { clientId: name, user: '' };
}

function named(name: string, { user }: ClientOptions): object {
  return user ? { user: name } : { clientId: name };
}

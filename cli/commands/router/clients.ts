/** `longline presence` and `longline disconnect`: the connections of one client. */
import type {
  DisconnectResponse,
  GetPresenceResponse,
} from '../../../proto/gen/longline/v1/push.js';
import { connectedSince, plural } from '../format.js';
import { CALL_SLACK_MS, callRouter, type RouterOptions } from './router-call.js';

const INCOMPLETE = 'an edge that could have a connection did not answer in time';

/**
 * Prints the connections and returns the exit status: 0 when the client is connected.
 * @throws Failure when the router rejects or cannot be reached
 */
export async function presence(clientId: string, options: RouterOptions): Promise<number> {
  const { connections, complete } = await callRouter<GetPresenceResponse>(
    options,
    CALL_SLACK_MS,
    (client, ...rest) => client.getPresence({ clientId }, ...rest),
  );
  if (options.json) console.log(JSON.stringify({ clientId, connections, complete }));
  else {
    for (const { edgeId, protocol, remoteAddress, guest, ...connected } of connections) {
      const since = connectedSince(connected.connectedAtMs, connected.connectedForMs);
      const role = guest ? ' as a guest' : '';
      console.log(
        `connected to ${edgeId}${role} over ${protocol} from ${remoteAddress} since ${since}`,
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
export async function disconnect(clientId: string, options: RouterOptions): Promise<number> {
  const { closed, complete } = await callRouter<DisconnectResponse>(
    options,
    CALL_SLACK_MS,
    (client, ...rest) => client.disconnect({ clientId }, ...rest),
  );
  if (options.json) console.log(JSON.stringify({ clientId, closed, complete }));
  else {
    console.log(`closed ${plural(closed, 'connection')}`);
    if (!complete) console.log(INCOMPLETE);
  }
  return closed > 0 ? 0 : 1;
}

/** `longline watch-presence`: who of some clients or of a group is connected, and every change. */
import {
  type ClientEvent,
  EventServiceClient,
  type PresenceState,
  type WatchPresenceResponse,
} from '../../../proto/gen/longline/v1/events.js';
import { failureOf, openService, type RouterOptions } from './router-call.js';

export interface WatchPresenceOptions extends RouterOptions {
  readonly group?: string;
}

/**
 * Prints until the router ends the watch.
 * @throws Failure when the router rejects, cannot be reached, or stops
 */
export async function watchPresence(
  names: readonly string[],
  { group = '', ...options }: WatchPresenceOptions,
): Promise<void> {
  const { client, metadata } = openService(EventServiceClient, options);
  const print = options.json ? printJson : printText;
  // The reader of the pipe, such as `head`, has exited.
  process.stdout.on('error', () => process.exit(0));
  try {
    for await (const response of client.watchPresence({ names: [...names], group }, metadata)) {
      print(response);
    }
  } catch (error) {
    throw failureOf(error, options.router);
  } finally {
    client.close();
  }
}

function printJson({ states, changes, isComplete }: WatchPresenceResponse): void {
  for (const state of states) console.log(JSON.stringify({ state }));
  for (const change of changes) console.log(JSON.stringify({ change }));
  if (isComplete) console.log(JSON.stringify({ isComplete }));
}

function printText({ states, changes }: WatchPresenceResponse): void {
  for (const state of states) console.log(stateLines(state).join('\n'));
  for (const change of changes) console.log(changeLine(change));
}

function stateLines({ name, clients }: PresenceState): string[] {
  if (clients.length === 0) return [`${name}  not connected`];
  return clients.map(({ clientId, edgeId, protocol, labels, connectedAtMs }) => {
    const since = new Date(connectedAtMs).toISOString();
    const labelled = labels === '' ? '' : ` with labels ${labels}`;
    return `${clientId}  connected to ${edgeId} over ${protocol} since ${since}${labelled}`;
  });
}

function changeLine(event: ClientEvent): string {
  const { atMs, type, clientId, fromEdgeId, edgeId, reason, group } = event;
  const edges = fromEdgeId === '' ? edgeId : `${fromEdgeId} → ${edgeId}`;
  const parts = [new Date(atMs).toISOString(), type, clientId, edges, reason, group];
  return parts.filter(Boolean).join('  ');
}

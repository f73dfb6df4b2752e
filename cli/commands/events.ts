/** `longline events`: the event log, and new events with `--follow`. */
import { controlApi, type EventInfo } from '../control/api.js';
import { followEvents } from '../control/event-source.js';
import { plural } from './format.js';
import type { ControlOptions } from './status.js';

export interface EventsOptions extends ControlOptions {
  readonly after: number;
  readonly follow?: boolean;
}

/** @throws Failure when control rejects, or cannot be reached at first */
export async function events(options: EventsOptions): Promise<void> {
  const { control, token = process.env.LONGLINE_TOKEN, after, follow, json } = options;
  const print = (event: EventInfo) =>
    console.log(json ? JSON.stringify(event) : describeEvent(event));
  if (!follow) {
    for (const event of await controlApi(control, token).events(after)) print(event);
    return;
  }
  // The reader of the pipe, such as `head`, has exited.
  process.stdout.on('error', () => process.exit(0));
  const onBreak = (reason: string) => console.error(`longline: ${reason}; retrying`);
  for await (const event of followEvents({ url: control, token }, after, onBreak)) print(event);
}

function describeEvent(event: EventInfo): string {
  const { id, atMs, position, type } = event;
  const at = new Date(atMs).toISOString();
  const epoch = `${position.incarnation}.${position.epoch}`;
  return `${id}  ${at}  ${epoch}  ${type}  ${detail(event)}`.trimEnd();
}

/** The fields that the event has, in reading order. */
function detail(event: EventInfo): string {
  const { action, edgeId, shard, from, to, shards, intent, incarnation, controlId, actor, reason } =
    event;
  const { clientId, messageId, ends, clients, detail: asked } = event;
  const parts = [
    action,
    edgeId,
    intent,
    shard !== undefined && `shard ${shard}`,
    from !== undefined && `${from} → ${to}`,
    from === undefined && to !== undefined && `to ${to}`,
    shards !== undefined && plural(shards, 'shard'),
    incarnation !== undefined && `incarnation ${incarnation}`,
    controlId,
    clientId,
    messageId,
    asked,
    clients !== undefined && plural(clients, 'client'),
    ends !== undefined && `${plural(ends, 'connection')} ended in a minute`,
    actor && `by ${actor}`,
    reason && `reason: ${reason}`,
  ];
  return parts.filter(Boolean).join('  ');
}

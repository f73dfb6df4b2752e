/**
 * The stored pushes of a client, what events say about it, and a test message to it. The list has
 * no payloads: these may be private to the users of an application, so reading one takes a
 * permission of its own, and is an action in the event log.
 *
 * A test message is live-only: control does not know the bounds of inboxes, which are settings of
 * routers, and nothing is left behind.
 */
import type { z } from 'zod';
import { readClientTrail } from '../../../common/cluster/events/client-trail.js';
import { listInbox, readPayload } from '../../../common/cluster/inbox/list.js';
import { isMessageId } from '../../../common/cluster/inbox.js';
import { isFinalForPush, verdictOfLive } from '../../../common/cluster/push-outcomes.js';
import type { ShardQueries } from '../../../common/cluster/shard-query.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { ScriptLink } from '../../../common/redis/script.js';
import { rejectClientId } from '../../../common/wire/client-id.js';
import { Verdict, WhenSlow } from '../../../proto/gen/longline/v1/push.js';
import type { Operations } from '../../leadership/operations.js';
import type { inboxQuery, payloadBody, pushBody, trailQuery } from './requests.js';
import type {
  InboxListResponse,
  PayloadResponse,
  PushResponse,
  TrailResponse,
} from './responses.js';

/** Only the start of a larger payload is returned. */
const PAYLOAD_BYTES_MAX = 64 * 1024;
/** Below the time for which a control that does not lead waits for the leader. */
const VERDICT_MS_MAX = 1_500;

export class Inboxes {
  constructor(
    readonly link: ScriptLink,
    readonly shardQueries: Pick<ShardQueries, 'channelOf' | 'query'>,
    readonly operations: Pick<Operations, 'rejectAsFollower' | 'recordAction'>,
  ) {}

  async list(
    clientId: string,
    { after = '', limit }: z.infer<typeof inboxQuery>,
  ): Promise<InboxListResponse | Rejection> {
    if (after !== '' && !isMessageId(after)) return notAnId('after', after);
    const channel = this.shardQueries.channelOf(clientId);
    const read = await listInbox(this.link, channel, clientId, after, limit);
    if (read.type !== 'done') return rejection('REDIS_UNAVAILABLE', read.reason);
    const { pushes, hasMore } = read.reply;
    return { clientId, pushes: [...pushes], next: hasMore ? pushes.at(-1)!.messageId : null };
  }

  async payload(
    { clientId, messageId, reason }: z.infer<typeof payloadBody>,
    actor: string,
  ): Promise<PayloadResponse | Rejection> {
    const rejected =
      this.operations.rejectAsFollower() ??
      rejectClientId(clientId) ??
      (isMessageId(messageId) ? undefined : notAnId('messageId', messageId));
    if (rejected !== undefined) return rejected;
    const channel = this.shardQueries.channelOf(clientId);
    const read = await readPayload(this.link, channel, clientId, messageId, PAYLOAD_BYTES_MAX);
    if (read.type !== 'done') return rejection('REDIS_UNAVAILABLE', read.reason);
    if (read.reply === undefined) {
      return rejection('NOT_FOUND', `the inbox does not have ${messageId}: confirmed or expired`);
    }
    this.operations.recordAction('read-payload', clientId, { actor, reason }, messageId);
    const { bytes, start, contentType } = read.reply;
    return { messageId, contentType, bytes, text: textOf(start), base64: start.toString('base64') };
  }

  async push(
    { clientId, payloadText, contentType, reason }: z.infer<typeof pushBody>,
    actor: string,
  ): Promise<PushResponse | Rejection> {
    const rejected = this.operations.rejectAsFollower() ?? rejectClientId(clientId);
    if (rejected !== undefined) return rejected;
    const payload = Buffer.from(payloadText);
    const startedMs = performance.now();
    const value = {
      ...{
        payload,
        contentType,
        ttlMs: 0,
        clientIds: [],
        shards: [],
        clientCounts: [],
        appendTo: '',
        appendEnd: false,
      },
      ...{ collapsible: false, whenSlow: WhenSlow.WHEN_SLOW_DROP, trace: undefined },
    };
    const body = { $case: 'push', value } as const;
    const answers = await this.shardQueries.query(clientId, body, VERDICT_MS_MAX, isFinalForPush);
    if ('code' in answers) return answers;
    const verdict = Verdict[verdictOfLive(answers)]!.replace('VERDICT_', '');
    const detail = `${payload.length} bytes: ${verdict}`;
    this.operations.recordAction('push', clientId, { actor, reason }, detail);
    return { verdict, ms: performance.now() - startedMs };
  }

  async trail(
    clientId: string,
    { after = '' }: z.infer<typeof trailQuery>,
  ): Promise<TrailResponse | Rejection> {
    if (after !== '' && !isMessageId(after)) return notAnId('after', after);
    const channel = this.shardQueries.channelOf(clientId);
    const read = await readClientTrail(this.link, channel, clientId, after);
    if (read.type !== 'done') return rejection('REDIS_UNAVAILABLE', read.reason);
    const { areKept, newestId, events } = read.reply;
    return {
      areKept,
      newestId: newestId || null,
      events: events.map(({ id, fields }) => {
        const durationMs = fields.get('d');
        return {
          id,
          atMs: Number(id.split('-', 1)[0]),
          type: fields.get('t') ?? '',
          edgeId: fields.get('e'),
          protocol: fields.get('p'),
          reason: fields.get('r'),
          durationMs: durationMs === undefined ? undefined : Number(durationMs),
          messageId: fields.get('m'),
        };
      }),
    };
  }
}

function notAnId(name: string, text: string): Rejection {
  return rejection('REQUEST_MALFORMED', `${name} is ${JSON.stringify(text)}, not a message id`);
}

/** Null: it is not UTF-8. */
function textOf(bytes: Buffer): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

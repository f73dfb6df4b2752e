/** Events as CloudEvents 1.0, in the JSON batch format, signed as Standard Webhooks says. Pure. */
import { createHash, createHmac } from 'node:crypto';
import type { DeliveredEvent } from '../partition.js';

export const BATCH_TYPE = 'application/cloudevents-batch+json';
const TYPE_PREFIX = 'io.longline.';

/** Names of the fields of events in `data`; see event-stream.ts. */
const MEMBERS: Readonly<Record<string, string>> = {
  e: 'edgeId',
  p: 'protocol',
  l: 'labels',
  r: 'reason',
  m: 'messageId',
  f: 'fromEdgeId',
  g: 'group',
};

/** @param source of the events: the cluster */
export function toCloudEvent(event: DeliveredEvent, source: string) {
  const { id, type, clientId, atMs, fields, lost } = event;
  const durationMs = fields.get('d');
  const count = fields.get('n');
  const members = [...fields].flatMap(([field, value]) => {
    const member = MEMBERS[field];
    return member === undefined ? [] : [[member, value]];
  });
  const data = {
    ...(clientId !== '' && { clientId }),
    ...Object.fromEntries(members),
    ...(durationMs !== undefined && { durationMs: Number(durationMs) }),
    ...(count !== undefined && { count: Number(count) }),
    ...(lost > 0 && { lost }),
  };
  return {
    specversion: '1.0',
    id,
    source,
    type: `${TYPE_PREFIX}${type}`,
    ...(clientId !== '' && { subject: clientId }),
    time: new Date(atMs).toISOString(),
    datacontenttype: 'application/json',
    data,
  };
}

/** Headers of a request: a receiver recognises a repeated batch by `webhook-id`. */
export function webhookHeaders(
  events: readonly DeliveredEvent[],
  body: string,
  secret: Buffer,
  nowS: number,
): Record<string, string> {
  const ids = createHash('sha256');
  for (const { id } of events) ids.update(`${id} `);
  const id = `msg_${ids.digest('base64url').slice(0, 27)}`;
  return {
    'content-type': BATCH_TYPE,
    'webhook-id': id,
    'webhook-timestamp': `${nowS}`,
    'webhook-signature': signatureOf(id, nowS, body, secret),
  };
}

export function signatureOf(id: string, nowS: number, body: string, secret: Buffer): string {
  const hmac = createHmac('sha256', secret).update(`${id}.${nowS}.${body}`);
  return `v1,${hmac.digest('base64')}`;
}

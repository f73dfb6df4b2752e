/** Names of groups of event consumers. */
const WEBHOOK_PREFIX = 'webhook.';

/** The group of a webhook. */
export function webhookGroup(name: string): string {
  return `${WEBHOOK_PREFIX}${name}`;
}

export function isWebhookGroup(group: string): boolean {
  return group.startsWith(WEBHOOK_PREFIX);
}

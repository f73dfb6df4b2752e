/** Webhooks of a router: a file with the endpoints. */
import { z } from 'zod';
import { isNetwork } from '../../../common/net/networks.js';
import { integer, listOf } from '../../../common/process/config.js';
import { type EventFilter, parseFilter } from '../event-filter.js';

export const WEBHOOKS_MAX = 16;
const SECRET_BYTES_MIN = 24;
const SECRET_BYTES_MAX = 64;
const SECRET_PREFIX = 'whsec_';

export const webhookSettings = {
  LONGLINE_ROUTER_WEBHOOKS_FILE: z
    .string()
    .optional()
    .describe(
      'JSON file with the webhooks that receive events, the same for all routers: an array of objects ' +
        'with `name`, `url`, `secret` (`whsec_` and 24 to 64 bytes in base64), and optionally `types`, ' +
        '`clientIdPrefix` and `selector`. It is read again within 2 s of a change; a file that cannot be ' +
        'used is logged, and the old webhooks stay. Unset: none.',
    ),
  LONGLINE_ROUTER_WEBHOOK_NETWORKS: listOf(
    z.string().refine(isNetwork, {
      error: 'expected networks such as 10.0.0.0/8 or 2001:db8::/32, separated by commas',
    }),
  )
    .default([])
    .describe(
      'Networks or single addresses, separated by commas, that webhooks may reach although they are ' +
        'not public, such as `10.1.0.0/16`. Unset: public addresses only.',
    ),
  LONGLINE_ROUTER_WEBHOOK_RETRY_MS: integer(0, 7 * 24 * 60 * 60 * 1000)
    .default(60 * 60 * 1000)
    .describe(
      'Milliseconds for which a batch of events is sent to a webhook again while that fails; then it ' +
        'becomes a dead letter, and later events are sent. Too low, an outage of the receiver makes ' +
        'dead letters; too high, one batch that the receiver never accepts delays what is behind it.',
    ),
};

export interface WebhookConfig {
  /** Undefined: no webhooks. */
  readonly file: string | undefined;
  /** Networks that are allowed although they are not public. */
  readonly networks: readonly string[];
  readonly retryMs: number;
}

export interface WebhookEndpoint {
  readonly name: string;
  readonly url: URL;
  readonly secret: Buffer;
  readonly isSelected: EventFilter;
}

type Parsed = z.infer<z.ZodObject<typeof webhookSettings>>;

/** @param problems receives settings that contradict each other */
export function webhookConfig(
  parsed: Parsed,
  hasEvents: boolean,
  problems: string[],
): WebhookConfig {
  const file = parsed.LONGLINE_ROUTER_WEBHOOKS_FILE;
  if (file !== undefined && !hasEvents) {
    problems.push('LONGLINE_ROUTER_WEBHOOKS_FILE: needs LONGLINE_EVENTS');
  }
  return {
    file,
    networks: parsed.LONGLINE_ROUTER_WEBHOOK_NETWORKS,
    retryMs: parsed.LONGLINE_ROUTER_WEBHOOK_RETRY_MS,
  };
}

const endpoint = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9_-]{1,48}$/, 'expected 1 to 48 of A-Z a-z 0-9 _ -'),
  url: z
    .string()
    .refine(isHttpUrl, 'expected an http:// or https:// URL without user and password'),
  // The message must not repeat the secret.
  secret: z.string().refine((text) => secretOf(text) !== undefined, {
    error: `expected ${SECRET_PREFIX} and ${SECRET_BYTES_MIN} to ${SECRET_BYTES_MAX} bytes in base64`,
  }),
  types: z.array(z.string()).default([]),
  clientIdPrefix: z.string().default(''),
  selector: z.string().default(''),
});

const endpoints = z.array(endpoint).max(WEBHOOKS_MAX, `expected at most ${WEBHOOKS_MAX} webhooks`);

/** @throws Error that says what is wrong, without a secret */
export function readWebhooks(text: string): WebhookEndpoint[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Error('it is not JSON');
  }
  const parsed = endpoints.safeParse(json);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    throw new Error(`${path.join('.') || 'the file'}: ${message}`);
  }
  const names = new Set(parsed.data.map(({ name }) => name));
  if (names.size < parsed.data.length) throw new Error('two webhooks have the same name');
  return parsed.data.map(({ name, url, secret, ...filter }) => {
    const isSelected = parseFilter(filter);
    if ('code' in isSelected) throw new Error(`${name}: ${isSelected.message}`);
    return { name, url: new URL(url), secret: secretOf(secret)!, isSelected };
  });
}

function isHttpUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password } = new URL(text);
  return /^https?:$/.test(protocol) && username === '' && password === '';
}

function secretOf(text: string): Buffer | undefined {
  if (!text.startsWith(SECRET_PREFIX)) return undefined;
  const base64 = text.slice(SECRET_PREFIX.length);
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined;
  const secret = Buffer.from(base64, 'base64');
  const { length } = secret;
  return length >= SECRET_BYTES_MIN && length <= SECRET_BYTES_MAX ? secret : undefined;
}

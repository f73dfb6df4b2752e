/** Builds the device authenticator from settings. */
import type { Counter } from 'prom-client';
import { EnvironmentError } from '../process/lifecycle.js';
import type { Logger } from '../process/log.js';
import type { Metrics } from '../process/metrics.js';
import { WatchedFiles } from '../process/watched-files.js';
import { type Authenticator, acceptAll, JwtAuthenticator } from './authenticator.js';
import type { JwtConfig, KeysFrom } from './device-settings.js';
import { JWKS_TIMES, Jwks } from './jwks.js';
import { JwtVerifier } from './jwt.js';
import { KeySet } from './key-set.js';
import { readKeys, type VerificationKey } from './keys.js';
import { Tickets } from './ticket.js';

export interface OpenedAuthenticator {
  readonly authenticator: Authenticator;
  /** Why new devices cannot be authenticated now; empty when they can. */
  notReadyReasons(): readonly string[];
  close(): void;
}

const WITHOUT_AUTHENTICATION: OpenedAuthenticator = {
  authenticator: acceptAll,
  notReadyReasons: () => [],
  close: () => {},
};

/**
 * Resolves when the keys are loaded. A JWKS URL that does not answer is no error: it is fetched
 * again later.
 * @param config undefined: devices are not authenticated
 * @throws EnvironmentError when inline keys or a key file cannot be used
 */
export async function openAuthenticator(
  config: JwtConfig | undefined,
  log: Logger,
  metrics: Metrics,
  role: 'edge' | 'router',
): Promise<OpenedAuthenticator> {
  if (config === undefined) return WITHOUT_AUTHENTICATION;
  const { algorithms, policy, ticketSecrets } = config;
  const fetches = metrics.counter(
    `longline_${role}_jwks_fetches_total`,
    'JWKS fetches, by outcome: ok or failed',
    ['outcome'],
  );
  const keys = new KeySet(algorithms);
  const source = await openKeys(config.keys, keys, fetches, log);
  return {
    authenticator: new JwtAuthenticator(
      new JwtVerifier(keys, policy),
      new Tickets(ticketSecrets, policy.skewMs),
      log,
      metrics,
      role,
    ),
    notReadyReasons: () => (keys.isEmpty ? ['no key is available to verify tokens'] : []),
    close: () => source?.close(),
  };
}

/** Loads the keys. Resolves with the refresher of a source that may change. */
async function openKeys(
  from: KeysFrom,
  keys: KeySet,
  fetches: Counter<'outcome'>,
  log: Logger,
): Promise<{ close(): void } | undefined> {
  switch (from.type) {
    case 'inline':
      return loadInline(from.text, keys);
    case 'file':
      return WatchedFiles.open([from.path], ([text]) => loadText(String(text), keys), log);
    case 'url': {
      const times = { ...JWKS_TIMES, refreshMs: from.refreshMs };
      const jwks = new Jwks(from.url, times, (fetched) => keys.replace(fetched), fetches, log);
      keys.refetch = () => jwks.refetch();
      await jwks.start();
      return jwks;
    }
  }
}

async function loadInline(text: string, keys: KeySet): Promise<undefined> {
  try {
    await loadText(text, keys);
  } catch (error) {
    throw new EnvironmentError(`LONGLINE_JWT_KEYS: ${(error as Error).message}`);
  }
}

/** Replaces all keys, or none when the text cannot be used. */
async function loadText(text: string, keys: KeySet): Promise<void> {
  const read = await readKeys(text);
  const isUsable = ({ algorithm }: VerificationKey) => keys.algorithms.includes(algorithm);
  if (!read.some(isUsable))
    throw new Error(`no key is for LONGLINE_JWT_ALGORITHMS (${keys.algorithms.join(', ')})`);
  keys.replace(read);
}

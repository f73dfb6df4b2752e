/** Puts the authentication of devices together, from settings. */
import type { Counter } from 'prom-client';
import { EnvironmentError } from '../process/lifecycle.js';
import type { Logger } from '../process/log.js';
import type { Metrics } from '../process/metrics.js';
import { WatchedFiles } from '../process/watched-files.js';
import { type Authenticator, everybody, JwtAuthenticator } from './authenticator.js';
import type { JwtConfig, KeysFrom } from './device-settings.js';
import { JWKS_TIMES, Jwks } from './jwks.js';
import { JwtVerifier } from './jwt.js';
import { KeySet } from './key-set.js';
import { readKeys, type VerificationKey } from './keys.js';
import { Tickets } from './ticket.js';

export interface OpenedAuthenticator {
  readonly authenticator: Authenticator;
  /** Why nobody new can be let in at the moment; undefined when somebody can. */
  notReadyBecause(): string | undefined;
  close(): void;
}

const OPEN: OpenedAuthenticator = {
  authenticator: everybody,
  notReadyBecause: () => undefined,
  close: () => {},
};

/**
 * Resolves when keys are there, or were asked for in vain from a URL that may have them later.
 * @param config undefined: devices are believed
 * @throws EnvironmentError when keys are of no use
 */
export async function openAuthenticator(
  config: JwtConfig | undefined,
  log: Logger,
  metrics: Metrics,
  role: 'edge' | 'router',
): Promise<OpenedAuthenticator> {
  if (config === undefined) return OPEN;
  const { algorithms, policy, ticketSecrets } = config;
  const fetches = metrics.counter(
    `longline_${role}_jwks_fetches_total`,
    'Fetches of the keys that tokens are verified with, by outcome.',
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
    notReadyBecause: () => (keys.isEmpty ? 'no key is known to verify tokens with' : undefined),
    close: () => source?.close(),
  };
}

/** Resolves with what keeps the keys new, if they may change. */
async function openKeys(
  from: KeysFrom,
  keys: KeySet,
  fetches: Counter<'outcome'>,
  log: Logger,
): Promise<{ close(): void } | undefined> {
  switch (from.type) {
    case 'inline':
      return takeInline(from.text, keys);
    case 'file':
      return WatchedFiles.open([from.path], ([text]) => takeText(String(text), keys), log);
    case 'url': {
      const times = { ...JWKS_TIMES, refreshMs: from.refreshMs };
      const jwks = new Jwks(from.url, times, (taken) => keys.replace(taken), fetches, log);
      keys.lookAgain = () => jwks.lookAgain();
      await jwks.start();
      return jwks;
    }
  }
}

async function takeInline(text: string, keys: KeySet): Promise<undefined> {
  try {
    await takeText(text, keys);
  } catch (error) {
    throw new EnvironmentError(`LONGLINE_JWT_KEYS: ${(error as Error).message}`);
  }
}

/** Takes all of them or none. */
async function takeText(text: string, keys: KeySet): Promise<void> {
  const read = await readKeys(text);
  const isOfUse = ({ algorithm }: VerificationKey) => keys.algorithms.includes(algorithm);
  if (!read.some(isOfUse)) throw new Error(`no key is for ${keys.algorithms.join(', ')}`);
  keys.replace(read);
}

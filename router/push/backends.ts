/**
 * Authenticates and authorises backends: a bearer token or a name in the client certificate names
 * the backend, its scopes say what it may do, and its pushes per second are bounded. A token file
 * takes effect when it changes; a stream that was opened with a removed token ends at its next
 * push.
 */
import type { PeerCertificate } from 'node:tls';
import type { Counter } from 'prom-client';
import { certificateNames } from '../../common/auth/certificates.js';
import { bearerOf, findToken } from '../../common/auth/tokens.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import { TokenBucket } from '../../common/process/token-bucket.js';
import { WatchedFiles } from '../../common/process/watched-files.js';
import {
  type BackendConfig,
  type BackendToken,
  readTokens,
  SCOPES,
  type Scope,
} from './backend-settings.js';

/** Credentials that a caller presents. */
export interface Credentials {
  /** Value of the header, or of the metadata, `authorization`. */
  readonly authorization: string | undefined;
  /** Client certificate whose authority has been verified. */
  readonly certificate: PeerCertificate | undefined;
}

export interface Backend {
  readonly name: string;
  /** Counts pushes; returns a rejection, and counts none, when the backend is over its rate. */
  rejectPushes(count: number): Rejection | undefined;
}

/** Every caller, where neither tokens nor certificates are configured. */
const ANONYMOUS = { name: 'anonymous', scopes: new Set<Scope>(SCOPES) };

export class Backends {
  #fileTokens: readonly BackendToken[] = [];
  #version = 0;
  readonly #backends = new Map<string, Backend>();
  readonly #admitted: Counter<'backend'>;
  readonly #limited: Counter<'backend'>;

  /** @param pushesPerSecondMax per backend; undefined: no bound */
  constructor(
    readonly config: Omit<BackendConfig, 'tls'>,
    readonly pushesPerSecondMax: number | undefined,
    metrics: Metrics,
  ) {
    this.#admitted = metrics.counter(
      'longline_router_backend_pushes_total',
      'Pushes that were requested, without those over the rate of their backend, by backend; a ' +
        'broadcast is one',
      ['backend'],
    );
    this.#limited = metrics.counter(
      'longline_router_pushes_rate_limited_total',
      'Pushes rejected because their backend was over its rate, by backend',
      ['backend'],
    );
  }

  /** Grows whenever the token file changes: streams that are open must be authorised again. */
  get version(): number {
    return this.#version;
  }

  /** @throws EnvironmentError when the token file cannot be read or parsed */
  async watchFile(log: Logger): Promise<void> {
    const { tokensFile } = this.config;
    if (tokensFile === undefined) return;
    const take = ([text]: readonly Buffer[]) => {
      this.#fileTokens = readTokens(String(text));
      this.#version++;
    };
    await WatchedFiles.open([tokensFile], take, log);
  }

  /** Returns the backend that makes a call, if it has the scope. */
  authorize(credentials: Credentials, scope: Scope): Backend | Rejection {
    const found = this.#authenticate(credentials);
    if ('code' in found) return found;
    if (found.scopes.has(scope)) return this.#backend(found.name);
    return rejection('PERMISSION_DENIED', `${found.name} lacks the scope ${scope}`);
  }

  #authenticate(
    credentials: Credentials,
  ): { name: string; scopes: ReadonlySet<Scope> } | Rejection {
    const { tokens, tokensFile, certificates } = this.config;
    if (tokens.length + certificates.length === 0 && tokensFile === undefined) return ANONYMOUS;
    const presented = bearerOf(credentials.authorization);
    if (presented !== undefined) {
      const token = findToken([...tokens, ...this.#fileTokens], presented);
      return token ?? rejection('UNAUTHENTICATED', 'the token is unknown');
    }
    const names = certificateNames(credentials.certificate);
    const certificate = certificates.find(({ name }) => names.includes(name));
    if (certificate !== undefined) return certificate;
    const message =
      'no credentials; send authorization: Bearer <token> or a known client certificate';
    return rejection('UNAUTHENTICATED', message);
  }

  /** One per name, so that all connections and tokens of a backend share its rate. */
  #backend(name: string): Backend {
    let backend = this.#backends.get(name);
    if (backend === undefined) {
      backend = { name, rejectPushes: this.#limiter(name) };
      this.#backends.set(name, backend);
    }
    return backend;
  }

  #limiter(name: string): (count: number) => Rejection | undefined {
    const max = this.pushesPerSecondMax;
    const admitted = this.#admitted.labels(name);
    if (max === undefined) return (count) => void admitted.inc(count);
    const bucket = new TokenBucket(max, performance.now());
    const limited = this.#limited.labels(name);
    const message = `${name} is over ${max} pushes a second on this router; retry later`;
    const rejected = rejection('RATE_LIMITED', message);
    return (count) => {
      if (bucket.take(performance.now(), count)) return void admitted.inc(count);
      limited.inc(count);
      return rejected;
    };
  }
}

/**
 * Who pushes, and whether they may: backends are known by a bearer token or by a name in their client
 * certificate, have scopes, and push so many times a second at most. Tokens in a file count from when
 * it has changed, and a stream that was opened with one that is gone ends with its next push.
 */
import type { ServerUnaryCall } from '@grpc/grpc-js';
import type { Counter } from 'prom-client';
import { certificateNames } from '../../common/auth/certificate-names.js';
import { bearerOf, findToken } from '../../common/auth/tokens.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { authorizationOf } from '../../common/process/grpc-server.js';
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

/** What is looked at of a call. */
export type BackendCall = Pick<ServerUnaryCall<unknown, unknown>, 'metadata' | 'getAuthContext'>;

export interface Backend {
  readonly name: string;
  /** Undefined when so many pushes are all right now. */
  rejectPushes(count: number): Rejection | undefined;
}

/** Who it is where nobody has to show anything. */
const ANYBODY = { name: 'anybody', scopes: new Set<Scope>(SCOPES) };

export class Backends {
  #fileTokens: readonly BackendToken[] = [];
  #version = 0;
  readonly #backends = new Map<string, Backend>();
  readonly #limited: Counter<'backend'>;

  /** @param pushesPerSecondMax of each; undefined: no bound */
  constructor(
    readonly config: Omit<BackendConfig, 'tls'>,
    readonly pushesPerSecondMax: number | undefined,
    metrics: Metrics,
  ) {
    this.#limited = metrics.counter(
      'longline_router_pushes_rate_limited_total',
      'Pushes that were over the bound of their backend.',
      ['backend'],
    );
  }

  /** Grows when somebody may not push any more who could before. */
  get version(): number {
    return this.#version;
  }

  /** @throws EnvironmentError when the file of tokens is of no use */
  async watchFile(log: Logger): Promise<void> {
    const { tokensFile } = this.config;
    if (tokensFile === undefined) return;
    const take = ([text]: readonly Buffer[]) => {
      this.#fileTokens = readTokens(String(text));
      this.#version++;
    };
    await WatchedFiles.open([tokensFile], take, log);
  }

  /** Who makes this call, if they may use the scope. */
  admit(call: BackendCall, scope: Scope): Backend | Rejection {
    const found = this.#find(call);
    if ('code' in found) return found;
    if (found.scopes.has(scope)) return this.#backend(found.name);
    return rejection('PERMISSION_DENIED', `${found.name} has not the scope ${scope}`);
  }

  #find(call: BackendCall): { name: string; scopes: ReadonlySet<Scope> } | Rejection {
    const { tokens, tokensFile, certificates } = this.config;
    if (tokens.length + certificates.length === 0 && tokensFile === undefined) return ANYBODY;
    const shown = bearerOf(authorizationOf(call.metadata));
    if (shown !== undefined) {
      const token = findToken([...tokens, ...this.#fileTokens], shown);
      return token ?? rejection('UNAUTHENTICATED', 'nobody has this token');
    }
    const names = certificateNames(call.getAuthContext().sslPeerCertificate);
    const certificate = certificates.find(({ name }) => names.includes(name));
    if (certificate !== undefined) return certificate;
    const why = 'expected metadata authorization: Bearer with a token, or a known certificate';
    return rejection('UNAUTHENTICATED', why);
  }

  /** One for each name, so that all that a backend opens counts together. */
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
    if (max === undefined) return () => undefined;
    const bucket = new TokenBucket(max, performance.now());
    const limited = this.#limited.labels(name);
    const rejected = rejection('RATE_LIMITED', `${name} may push ${max} times a second here`);
    return (count) => {
      if (bucket.take(performance.now(), count)) return undefined;
      limited.inc(count);
      return rejected;
    };
  }
}

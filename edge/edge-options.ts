/** Settings and connections of a process from which an edge is created. */
import type { Authenticator } from '../common/auth/authenticator.js';
import type { Logger } from '../common/process/log.js';
import type { MemoryWatch } from '../common/process/memory/memory-watch.js';
import type { Metrics } from '../common/process/metrics.js';
import type { Tracer } from '../common/process/tracing/tracer.js';
import type { RedisLink } from '../common/redis/redis-link.js';
import type { TlsIdentity } from '../common/transport/tls-identity.js';
import type { EdgeConfig } from './config.js';

export interface EdgeOptions {
  readonly config: EdgeConfig;
  /** Unique per process start. */
  readonly incarnation: string;
  readonly link: RedisLink;
  readonly authenticator: Authenticator;
  readonly identity: TlsIdentity | undefined;
  readonly memory: Pick<MemoryWatch, 'isLow'>;
  /** Undefined: there is no tracing. */
  readonly tracer: Tracer | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
}

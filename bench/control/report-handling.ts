/**
 * CPU of one report of an edge in control, from its bytes to the decision that nothing has to be
 * done: the code of control in this process, without gRPC and the kernel.
 */
import { EventEmitter } from 'node:events';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { startRedis } from '../../cli/local/redis.js';
import { Metrics } from '../../common/process/metrics.js';
import { RedisNames } from '../../common/redis/redis-names.js';
import { EDGE_SESSION_SERVICE } from '../../control/control-grpc.js';
import { Controller } from '../../control/leadership/controller.js';
import { AssignmentUpdates } from '../../control/links/assignment-updates.js';
import { ClientScans } from '../../control/links/client-scans.js';
import { createEdgeSessionService } from '../../control/links/edge-sessions.js';
import type { SessionResponse } from '../../proto/gen/longline/v1/edge_session.js';
import { waitUntil } from '../support/wait.js';
import { encodeHello, encodeReport } from './edge-messages.js';

const REPORTS = 20_000;
const SECONDS_MAX = 60;

/** Stands in for the stream of gRPC. */
class Call extends EventEmitter {
  readonly writableEnded = false;

  constructor() {
    super();
    // The end of its session.
    this.on('error', () => {});
  }

  getPeer(): string {
    return 'bench';
  }

  sendMetadata(): void {}

  write(_response: SessionResponse, onSent = () => {}): void {
    setImmediate(onSent);
  }

  end(): void {
    this.emit('close');
  }
}

/** Returns microseconds. */
export async function measureHandling(edges: number, shardCount: number): Promise<number> {
  const server = await startRedis();
  const redis = new Redis(server.url);
  const log = pino({ level: 'silent' });
  const metrics = new Metrics();
  const link = { commands: redis, names: new RedisNames('') };
  const limits = { leaseMs: 60_000, reconnectsPerSecondMax: 1_000 };
  const controller = new Controller({
    link,
    controlId: 'bench',
    shardCount,
    ...limits,
    log,
    metrics,
  });
  const updates = new AssignmentUpdates(controller, metrics);
  const service = createEdgeSessionService({
    controller,
    updates,
    scans: new ClientScans(),
    shardCount,
    log,
    metrics,
  });
  const calls = Array.from({ length: edges }, () => new Call());
  try {
    controller.setLeader({ type: 'self' });
    for (const [i, call] of calls.entries()) {
      // The service uses only the parts of a call that this one has.
      service.session(call as unknown as Parameters<typeof service.session>[0]);
      receive(call, encodeHello({ id: `edge-${i}`, capacity: 10_000, shardCount, port: 7000 + i }));
    }
    await waitUntil(`${edges} edges get shards`, SECONDS_MAX, () => {
      const { length } = controller.current?.edges ?? [];
      return length === edges ? undefined : `${length} have them`;
    });
    const reports = calls.map((_, i) => encodeReport(controller.current, `edge-${i}`));
    const send = () => {
      for (let i = 0; i < REPORTS; i++) receive(calls[i % edges]!, reports[i % edges]!);
    };
    send();
    const before = process.cpuUsage();
    send();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / REPORTS;
  } finally {
    // Otherwise the controller would look for the edges forever.
    controller.setLeader({ type: 'none' });
    for (const call of calls) call.end();
    await controller.close();
    redis.disconnect();
    await server.stop();
  }
}

function receive(call: Call, bytes: Buffer): void {
  call.emit('data', EDGE_SESSION_SERVICE.session.requestDeserialize(bytes));
}

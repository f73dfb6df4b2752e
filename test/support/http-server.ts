import type { FastifyInstance } from 'fastify';
import { HttpConnections } from '../../common/http/connections.js';
import { createHttpServer } from '../../common/http/server.js';
import { Metrics } from '../../common/process/metrics.js';
import { READY, type ReadinessCheck } from '../../common/process/readiness.js';

/** The HTTP server of a role, without routes of the role. */
export function httpServerOf(checkReadiness: ReadinessCheck = () => READY): FastifyInstance {
  const metrics = new Metrics();
  return createHttpServer(metrics, new HttpConnections(metrics, 'router', 1_000), checkReadiness);
}

/** The backend that this machine can run. */
import { progress } from '../report.js';
import type { Backend } from './backend.js';
import { buildGoBackend, GoBackend } from './go-backend.js';
import { NodeBackend } from './node-backend.js';

export const BACKENDS = ['auto', 'go', 'node'] as const;

/**
 * `auto`: in Go, where its compiler and the packages are there. In Node.js it costs several times
 * as much of the machine.
 * @param routers gRPC addresses, used in turn
 * @throws Error when `go` is required and cannot be built
 */
export async function openBackend(
  choice: (typeof BACKENDS)[number],
  routers: readonly string[],
): Promise<Backend> {
  if (choice === 'node') return new NodeBackend(routers);
  const program = buildGoBackend();
  if ('path' in program) return new GoBackend(program.path, 'longline', routers);
  if (choice === 'go') throw new Error(`the backend in Go cannot be built: ${program.missing}`);
  progress(`the backend runs in Node.js and limits unary loads: ${program.missing}`);
  return new NodeBackend(routers);
}

/**
 * The same pushes over HTTP.
 * @param routers addresses of the HTTP ports for backends, used in turn
 * @throws Error when the backend in Go cannot be built
 */
export function openHttpBackend(routers: readonly string[]): Backend {
  const program = buildGoBackend();
  if ('missing' in program) throw new Error(`--http needs the backend in Go: ${program.missing}`);
  return new GoBackend(program.path, 'longline-http', routers);
}

/** What a role reports to probes, balancers and operators about its ability to serve. */
export interface Readiness {
  /** Why the process cannot serve; empty when it can. */
  readonly notReady: readonly string[];
  /** What does not work while the process serves the rest, such as one Redis master of several. */
  readonly degraded: readonly string[];
}

export type ReadinessCheck = () => Readiness;

export const READY: Readiness = { notReady: [], degraded: [] };

/** A process has all problems of its parts. */
export function combineReadiness(...parts: readonly Readiness[]): Readiness {
  return {
    notReady: parts.flatMap(({ notReady }) => notReady),
    degraded: parts.flatMap(({ degraded }) => degraded),
  };
}

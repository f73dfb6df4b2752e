/** Ability of a role to serve, as it reports that to probes, balancers and operators. */
export interface Readiness {
  /** Why the process cannot serve; empty when it can. */
  readonly notReady: readonly string[];
  /** Problems with which the process serves the rest, such as one dead Redis master of several. */
  readonly degraded: readonly string[];
}

export type ReadinessCheck = () => Readiness;

export const READY: Readiness = { notReady: [], degraded: [] };

/** A process has the problems of all its parts. */
export function combineReadiness(...parts: readonly Readiness[]): Readiness {
  return {
    notReady: parts.flatMap(({ notReady }) => notReady),
    degraded: parts.flatMap(({ degraded }) => degraded),
  };
}

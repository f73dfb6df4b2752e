/**
 * A deterministic state machine without I/O, timers, clock or randomness. Its driver performs the
 * actions.
 */
export interface Machine<Event, Action> {
  /**
   * Processes an event, or only the passing of time when `event` is null. Early and repeated calls
   * are harmless.
   */
  step(nowMs: number, event: Event | null): Output<Action>;
}

export interface Output<Action> {
  /** The driver performs these in order. */
  readonly actions: readonly Action[];
  /** Time of the next `step` that is needed without an event; Infinity: none. */
  readonly wakeAtMs: number;
}

/** Makes the compiler check that a switch is exhaustive. */
export function assertNever(value: never): never {
  throw new Error(`unexpected value ${JSON.stringify(value)}`);
}

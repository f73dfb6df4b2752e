/**
 * A machine decides; its driver acts. Same inputs, same outputs: no I/O, timers, clock or
 * randomness inside.
 */
export interface Machine<Event, Action> {
  /** Takes an event, or the passing of time when `event` is null. Early and repeated calls are harmless. */
  step(nowMs: number, event: Event | null): Output<Action>;
}

export interface Output<Action> {
  /** The driver performs these in order. */
  readonly actions: readonly Action[];
  /** When time alone changes something next; Infinity: never. */
  readonly wakeAtMs: number;
}

/** Makes the compiler prove that a switch is exhaustive. */
export function assertNever(value: never): never {
  throw new Error(`unexpected value ${JSON.stringify(value)}`);
}

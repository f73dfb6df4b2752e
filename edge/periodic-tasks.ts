/** Tasks that run periodically and stop together. */
export interface PeriodicTask {
  readonly everyMs: number;
  readonly run: () => void;
}

/** Starts all tasks. Returns a function that stops all of them. */
export function startPeriodicTasks(tasks: readonly PeriodicTask[]): () => void {
  const timers = tasks.map(({ everyMs, run }) => setInterval(run, everyMs));
  return () => {
    for (const timer of timers) clearInterval(timer);
  };
}

/** Stop signal of long-running commands. */

const PARENT_POLL_MS = 500;

/**
 * Returns a signal that the first SIGINT, SIGTERM or SIGHUP aborts. The second one ends this
 * process at once; roles and Redis stop when they notice that it is gone.
 */
export function stopRequest(): AbortSignal {
  const stopping = new AbortController();
  const request = () => {
    if (stopping.signal.aborted) process.exit(1);
    stopping.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, request);
  // A killed npm leaves this process without a signal.
  if (process.env.npm_lifecycle_event !== undefined) {
    const parent = process.ppid;
    const watch = setInterval(() => {
      if (process.ppid === parent) return;
      clearInterval(watch);
      if (!stopping.signal.aborted) stopping.abort();
    }, PARENT_POLL_MS).unref();
  }
  return stopping.signal;
}

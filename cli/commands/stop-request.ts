/** How a command that runs for long is told to stop. */

const PARENT_POLL_MS = 500;

/**
 * Aborted by the first request to stop. The second one ends this process at once, and with it
 * everything: roles and Redis notice that it is gone.
 */
export function stopRequest(): AbortSignal {
  const stopping = new AbortController();
  const request = () => {
    if (stopping.signal.aborted) process.exit(1);
    stopping.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, request);
  // When npm is killed, it leaves us behind without a signal.
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

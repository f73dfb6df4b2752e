/** Calls of the operator API. URLs are relative: a proxy may serve the page below a path. */

export class ApiError extends Error {
  constructor(
    /** 0: no answer. */
    readonly status: number,
    /** Error code; empty if something else than control answered. */
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** More than the time for which a control waits for the leader. */
const TIMEOUT_MS = 8_000;

/** @param body absent: a GET */
export async function call<Answer>(
  path: string,
  body?: object,
  method = body === undefined ? 'GET' : 'POST',
): Promise<Answer> {
  const response = await fetch(path, {
    method,
    signal: AbortSignal.timeout(TIMEOUT_MS),
    ...(body && {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }),
  }).catch(() => {
    throw new ApiError(0, '', 'control does not answer');
  });
  const answer = await response.json().catch(() => undefined);
  if (response.ok && answer !== undefined) return answer;
  const { code = '', message = `something else than control answers, with ${response.status}` } =
    answer?.error ?? {};
  throw new ApiError(response.status, code, message);
}

export const edgePath = (id: string) => `v1/edges/${encodeURIComponent(id)}`;

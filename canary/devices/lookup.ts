/**
 * Asks a router for the address of the edge of a client, as a device that cannot follow redirects.
 */

/** A healthy router answers in less. */
const ANSWER_MS_MAX = 4_000;

/**
 * @param url `/connect` of a router
 * @param token bearer token of the device; undefined where devices are not authenticated
 * @returns URL at the edge, with a ticket where devices are authenticated
 * @throws Error for any answer that has no URL
 */
export async function lookUpEdge(
  url: URL,
  token: string | undefined,
  signal: AbortSignal,
  answerMsMax = ANSWER_MS_MAX,
): Promise<URL> {
  // In AbortSignal.any, Node.js 20 forgets an AbortSignal.timeout at a garbage collection.
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error('no answer in time')), answerMsMax);
  try {
    const response = await fetch(url, {
      headers: {
        accept: 'application/json',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      signal: AbortSignal.any([signal, late.signal]),
    });
    const body = (await response.json()) as { url?: string };
    if (response.status !== 200 || body.url === undefined) {
      throw new Error(`the router answered ${response.status}`);
    }
    return new URL(body.url);
  } finally {
    clearTimeout(timer);
  }
}

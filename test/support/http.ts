/**
 * One HTTP request and its complete response. Not `fetch`, which follows redirects, forbids
 * `Origin` and normalises the target.
 */
import { once } from 'node:events';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';

export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface HttpRequestOptions {
  readonly method?: string;
  readonly headers?: Record<string, string>;
}

const RESPONSE_DEADLINE_MS = 10_000;

export async function httpRequest(
  url: string,
  options: HttpRequestOptions = {},
): Promise<HttpResponse> {
  const { method = 'GET', headers = {} } = options;
  const [, origin, path] = /^(https?:\/\/[^/]+)(.*)$/.exec(url)!;
  const signal = AbortSignal.timeout(RESPONSE_DEADLINE_MS);
  const call = request(origin!, { method, path: path || '/', headers, agent: false, signal });
  call.end();
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  return { status: response.statusCode!, headers: response.headers, body: await text(response) };
}

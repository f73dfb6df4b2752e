/**
 * One HTTP request and its whole answer. Not `fetch`, which follows redirects, rejects to send
 * `Origin`, and normalises targets that tests mean as they are.
 */
import { once } from 'node:events';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Question {
  readonly method?: string;
  readonly headers?: Record<string, string>;
}

const ANSWER_DEADLINE_MS = 10_000;

export async function ask(url: string, question: Question = {}): Promise<Answer> {
  const { method = 'GET', headers = {} } = question;
  const [, origin, path] = /^(https?:\/\/[^/]+)(.*)$/.exec(url)!;
  const signal = AbortSignal.timeout(ANSWER_DEADLINE_MS);
  const call = request(origin!, { method, path: path || '/', headers, agent: false, signal });
  call.end();
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  return { status: response.statusCode!, headers: response.headers, body: await text(response) };
}

/**
 * Requests to control's HTTP API. They do not use `fetch`, which normalises paths: `..` is a valid
 * clientId.
 */
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { text } from 'node:stream/consumers';
import { Failure } from '../terminal/failure.js';

export interface ControlAddress {
  readonly url: string;
  readonly token: string | undefined;
}

/** Control was reached and rejected the request. */
export class Rejected extends Failure {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(`${code}: ${message}`);
  }
}

/** Whether a retry cannot succeed. */
export function isFinal(error: unknown): boolean {
  return error instanceof Rejected && ['UNAUTHENTICATED', 'PERMISSION_DENIED'].includes(error.code);
}

const TIMEOUT_MS = 10_000;

/** @param body undefined: GET, else POST */
export async function callControl<Answer>(
  address: ControlAddress,
  path: string,
  body?: object,
): Promise<Answer> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const response = await send(address, path, { signal }, body);
    const responseBody = await text(response);
    if (response.statusCode === 200) return JSON.parse(responseBody) as Answer;
    throw failureOfResponse(address, path, response, responseBody);
  } catch (error) {
    throw failureOf(error as NodeJS.ErrnoException, address.url);
  }
}

/** Resolves with the response once its head is received, such as a stream. */
export async function openControl(
  address: ControlAddress,
  path: string,
  headers: Record<string, string>,
): Promise<IncomingMessage> {
  try {
    const response = await send(address, path, { headers });
    if (response.statusCode === 200) return response;
    throw failureOfResponse(address, path, response, await text(response));
  } catch (error) {
    throw failureOf(error as NodeJS.ErrnoException, address.url);
  }
}

async function send(
  { url, token }: ControlAddress,
  path: string,
  options: RequestOptions,
  body?: object,
): Promise<IncomingMessage> {
  const payload = body && JSON.stringify(body);
  const headers = {
    ...options.headers,
    ...(token && { authorization: `Bearer ${token}` }),
    ...(payload && { 'content-type': 'application/json' }),
  };
  const method = payload ? 'POST' : 'GET';
  const request = url.startsWith('https:') ? httpsRequest : httpRequest;
  const call = request(url, { ...options, method, path, headers, agent: false });
  // Errors after the head are reported by the response.
  call.on('error', () => {});
  call.end(payload);
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  return response;
}

/**
 * Redirects are not followed: the request may carry a token, and nothing proves that the other
 * address is a control of the same cluster. A control that does not lead passes requests on.
 */
function failureOfResponse(
  { url }: ControlAddress,
  path: string,
  { statusCode, headers }: IncomingMessage,
  body: string,
): Failure {
  if (statusCode! >= 300 && statusCode! < 400 && URL.canParse(headers.location ?? '', url)) {
    const { origin } = new URL(headers.location!, url);
    return new Failure(
      `${url} redirects ${path} to ${origin} (status ${statusCode}), and no token is sent there; ` +
        `if that is this cluster's control, use --control ${origin}`,
    );
  }
  try {
    const { code, message } = JSON.parse(body).error;
    return new Rejected(code, message);
  } catch {
    return new Failure(
      `${url} answered ${statusCode} to ${path}; it is probably not Longline's control`,
    );
  }
}

function failureOf(error: NodeJS.ErrnoException, url: string): Failure {
  if (error instanceof Failure) return error;
  if (error.code === 'ECONNREFUSED') return notRunning(new URL(url).host);
  if (error.name === 'AbortError' || error.name === 'TimeoutError') {
    return new Failure(`${url} did not answer within ${TIMEOUT_MS} ms`);
  }
  return new Failure(`cannot reach ${url}: ${error.message}`);
}

export function notRunning(address: string): Failure {
  return new Failure(
    `nothing listens at ${address}; start the cluster (npm start) or name another address`,
  );
}

/**
 * Process of `startReceivers` (receivers.ts): each device has an SSE connection and compares the
 * clock with the time at the start of each payload (timed-payload.ts).
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { createHistogram } from 'node:perf_hooks';
import { nowUs } from '../clock.js';
import { TIME_DIGITS } from '../pushes/timed-payload.js';

/** `connect` is answered with `true` when all are connected, `take` with `ReceivedPushes`. */
export type ToReceivers =
  | { readonly type: 'connect'; readonly urls: readonly string[] }
  | { readonly type: 'take' };

export interface ReceivedPushes {
  readonly pushes: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
}

const READ_BYTES = 64 * 1024;
const CONNECTING_MAX = 100;
const DATA = 'data: ';

const latenciesUs = createHistogram();
let sinceUs = nowUs();

process.on('message', (message: ToReceivers) => {
  if (message.type === 'take') process.send!(take());
  else void connectAll(message.urls).then(() => process.send!(true));
});
process.on('disconnect', () => process.exit());

async function connectAll(urls: readonly string[]): Promise<void> {
  for (let i = 0; i < urls.length; i += CONNECTING_MAX) {
    await Promise.all(urls.slice(i, i + CONNECTING_MAX).map(connectDevice));
  }
}

/** Resolves with the first bytes: an edge answers when pushes can reach the connection. */
async function connectDevice(url: string): Promise<void> {
  const { hostname, port, pathname, search } = new URL(url);
  let rest = '';
  let onAnswer = () => {};
  const answered = new Promise<void>((resolve) => {
    onAnswer = resolve;
  });
  // One buffer per socket, without the bookkeeping of a stream, which would cost more than the
  // edge's own share of a push.
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  const onRead = (length: number) => {
    onAnswer();
    rest = recordEvents(rest + buffer.toString('latin1', 0, length));
    return true;
  };
  const onread = { buffer, callback: onRead };
  const socket = connect({ host: hostname, port: Number(port), noDelay: true, onread });
  // The result of the bench is void when a device is missing.
  socket.on('close', () => process.exit(1));
  await once(socket, 'connect');
  socket.write(`GET ${pathname}${search} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
  await answered;
}

/** Records the latency of each complete event and returns the text behind the last one. */
function recordEvents(text: string): string {
  const now = nowUs();
  let end = 0;
  for (;;) {
    const start = text.indexOf(DATA, end);
    if (start === -1 || start + DATA.length + TIME_DIGITS > text.length) break;
    end = start + DATA.length + TIME_DIGITS;
    latenciesUs.record(Math.max(1, now - Number(text.slice(end - TIME_DIGITS, end))));
  }
  return text.slice(Math.max(end, text.lastIndexOf('\n') + 1));
}

function take(): ReceivedPushes {
  const seconds = (nowUs() - sinceUs) / 1e6;
  const received = {
    pushes: latenciesUs.count,
    perSecond: Math.round(latenciesUs.count / seconds),
    p50Ms: latenciesUs.percentile(50) / 1e3,
    p99Ms: latenciesUs.percentile(99) / 1e3,
    p999Ms: latenciesUs.percentile(99.9) / 1e3,
  };
  latenciesUs.reset();
  sinceUs = nowUs();
  return received;
}

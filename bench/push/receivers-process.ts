/**
 * The devices of the push bench, in a process of their own: each holds an SSE connection and
 * compares the clock with the time that the payload of each push begins with.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { createHistogram } from 'node:perf_hooks';
import { nowUs, TIME_DIGITS } from './payload.js';

/** `connect` is answered with `true` when all are connected, `take` with what came since the last. */
export type ToReceivers =
  | { readonly type: 'connect'; readonly urls: readonly string[] }
  | { readonly type: 'take' };

export interface Received {
  readonly pushes: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
}

const READ_BYTES = 64 * 1024;
const CONNECTING_MAX = 100;
const DATA = 'data: ';

const latencies = createHistogram();
let sinceUs = nowUs();

process.on('message', (message: ToReceivers) => {
  if (message.type === 'take') process.send!(take());
  else void connectAll(message.urls).then(() => process.send!(true));
});
process.on('disconnect', () => process.exit());

async function connectAll(urls: readonly string[]): Promise<void> {
  for (let i = 0; i < urls.length; i += CONNECTING_MAX) {
    await Promise.all(urls.slice(i, i + CONNECTING_MAX).map(hold));
  }
}

/** Resolves with the first bytes: an edge answers when pushes can reach the connection. */
async function hold(url: string): Promise<void> {
  const { hostname, port, pathname, search } = new URL(url);
  let rest = '';
  let isAnswered = () => {};
  const answered = new Promise<void>((resolve) => {
    isAnswered = resolve;
  });
  // Into one buffer per socket and without a stream's bookkeeping, which would cost more than the
  // edge's own part of a push.
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  const onRead = (length: number) => {
    isAnswered();
    rest = record(rest + buffer.toString('latin1', 0, length));
    return true;
  };
  const onread = { buffer, callback: onRead };
  const socket = connect({ host: hostname, port: Number(port), noDelay: true, onread });
  // The bench is void without all of its devices.
  socket.on('close', () => process.exit(1));
  await once(socket, 'connect');
  socket.write(`GET ${pathname}${search} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
  await answered;
}

/** Records every event in the text and returns what is left of it. */
function record(text: string): string {
  const now = nowUs();
  let end = 0;
  for (;;) {
    const start = text.indexOf(DATA, end);
    if (start === -1 || start + DATA.length + TIME_DIGITS > text.length) break;
    end = start + DATA.length + TIME_DIGITS;
    latencies.record(Math.max(1, now - Number(text.slice(end - TIME_DIGITS, end))));
  }
  return text.slice(Math.max(end, text.lastIndexOf('\n') + 1));
}

function take(): Received {
  const seconds = (nowUs() - sinceUs) / 1e6;
  const received = {
    pushes: latencies.count,
    perSecond: Math.round(latencies.count / seconds),
    p50Ms: latencies.percentile(50) / 1e3,
    p99Ms: latencies.percentile(99) / 1e3,
    p999Ms: latencies.percentile(99.9) / 1e3,
  };
  latencies.reset();
  sinceUs = nowUs();
  return received;
}

/** `/v1/push:stream`: lines of JSON both ways. */
import type { BodySink } from '../../../common/http/http1/body-decoder.js';
import type { Exchange } from '../../../common/http/http1/exchange.js';
import { parseBody } from '../../../common/http/parse-body.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import { CHUNKED, frameText } from '../../../common/wire/body-framing.js';
import { streamHead } from '../../../common/wire/http-response.js';
import { parseStrictJson } from '../../../common/wire/strict-json.js';
import type { Backend } from '../backends.js';
import type { BackendCall, PushApi } from '../operations.js';
import {
  PushStream,
  type StreamItem,
  type StreamResult,
  type StreamWire,
  tooOld,
} from '../push-stream.js';
import { StreamBounds } from '../stream-bounds.js';
import { LineReader } from './line-reader.js';
import { streamLine, toPushRequest } from './requests.js';
import { fromStreamResult } from './responses.js';

export const NDJSON_TYPE = 'application/x-ndjson';
const HEAD = streamHead(NDJSON_TYPE, CHUNKED, [], '').toString();
/** Stands for lines whose correlationId could not be read. */
const NO_CORRELATION_ID = '';

export interface StreamLimits {
  readonly lineBytesMax: number;
  /** Bytes of payloads without a verdict. */
  readonly bytesMax: number;
}

/** Starts the response. @param onEnd called when the stream is over, with the code of the reason */
export function openStream(
  exchange: Exchange,
  call: BackendCall,
  backend: Backend,
  api: PushApi,
  { lineBytesMax, bytesMax }: StreamLimits,
  onEnd: (reason: Rejection | undefined) => void,
): BodySink {
  const wire = new HttpStream(exchange, call, bytesMax, onEnd);
  exchange.startStream(HEAD);
  const stream = new PushStream(wire, backend, api);
  exchange.onClose = () => {
    stream.onClose();
    wire.onClose();
  };
  exchange.onWritable = () => stream.onWritable();
  exchange.onTooOld = () => stream.stop(tooOld());
  const lines = new LineReader(lineBytesMax, (line) => {
    if (!wire.isStopped) stream.take([readLine(line, lineBytesMax)]);
  });
  return {
    onData: (bytes) => {
      lines.read(bytes);
      if (!wire.bounds.mayRead()) exchange.pause();
    },
    onEnd: () => {
      lines.end();
      stream.onEnd();
    },
    onMalformed: (rejected) => stream.stop(rejected),
  };
}

class HttpStream implements StreamWire {
  readonly bounds: StreamBounds;
  isStopped = false;
  #hasEnded = false;

  constructor(
    readonly exchange: Exchange,
    readonly call: BackendCall,
    bytesMax: number,
    readonly onEnd: (reason: Rejection | undefined) => void,
  ) {
    this.bounds = new StreamBounds(bytesMax, () => {
      if (!this.isStopped) exchange.resume();
    });
  }

  get isEnded(): boolean {
    return this.#hasEnded || this.call.isCancelled;
  }

  send(results: readonly StreamResult[]): boolean {
    return this.exchange.write(frameText(CHUNKED, linesOf(results)));
  }

  stopReading(): void {
    this.isStopped = true;
    this.exchange.pause();
  }

  end(reason: Rejection | undefined): void {
    this.stopReading();
    this.onClose(reason);
    const last =
      reason === undefined ? '' : linesOf([{ correlationId: NO_CORRELATION_ID, response: reason }]);
    this.exchange.endStream(`${frameText(CHUNKED, last)}${CHUNKED.end}`);
  }

  /** Ends once, for the metrics. */
  onClose(reason?: Rejection): void {
    if (!this.#hasEnded) this.onEnd(reason);
    this.#hasEnded = true;
  }
}

function linesOf(results: readonly StreamResult[]): string {
  return results.map((result) => `${JSON.stringify(fromStreamResult(result))}\n`).join('');
}

function readLine(line: Buffer | undefined, bytesMax: number): StreamItem {
  if (line === undefined) {
    const message = `the line is larger than ${bytesMax} bytes, the maximum`;
    const rejected = rejection('PAYLOAD_TOO_LARGE', message);
    return { correlationId: NO_CORRELATION_ID, rejected };
  }
  const json = parseStrictJson(line, 'payload');
  if ('code' in json) return { correlationId: NO_CORRELATION_ID, rejected: json };
  const { value, kept } = json;
  const body = parseBody(streamLine, value);
  if ('code' in body) return { correlationId: idIn(value), rejected: body };
  const { correlationId } = body.parsed;
  const push = toPushRequest(body.parsed, kept);
  return 'code' in push ? { correlationId, rejected: push } : { correlationId, push };
}

/** The correlationId of a line that is wrong elsewhere. */
function idIn({ correlationId }: Readonly<Record<string, unknown>>): string {
  const { data } = streamLine.shape.correlationId.safeParse(correlationId);
  return data ?? NO_CORRELATION_ID;
}

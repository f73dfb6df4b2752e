/**
 * A receiver of OTLP over HTTP with protobuf, as a collector has one: keeps the spans that it gets.
 */
import { createServer, type Server } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string;
  readonly traceState: string;
  readonly name: string;
  readonly kind: 'internal' | 'server' | 'client' | 'producer' | 'consumer';
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly isError: boolean;
  /** Attributes of the process. */
  readonly resource: Readonly<Record<string, string | number>>;
}

const KINDS = ['internal', 'internal', 'server', 'client', 'producer', 'consumer'] as const;
const STATUS_ERROR = 2;

export class OtlpReceiver {
  readonly spans: ReceivedSpan[] = [];
  /** Status with which requests are answered. */
  status = 200;
  requests = 0;

  private constructor(readonly server: Server) {
    server.on('request', async (request, response) => {
      this.requests++;
      const body = await buffer(request);
      const isPlain = request.headers['content-encoding'] !== 'gzip';
      const isTraces = request.url === '/v1/traces';
      if (this.status === 200 && isTraces)
        this.spans.push(...spansIn(isPlain ? body : gunzipSync(body)));
      response.writeHead(isTraces ? this.status : 404, {
        'content-type': 'application/x-protobuf',
      });
      response.end();
    });
  }

  static async start(): Promise<OtlpReceiver> {
    const receiver = new OtlpReceiver(createServer());
    await new Promise<void>((resolve) => receiver.server.listen(0, '127.0.0.1', resolve));
    return receiver;
  }

  get url(): string {
    const address = this.server.address();
    if (address === null || typeof address === 'string') throw new Error('it does not listen');
    return `http://127.0.0.1:${address.port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** Decodes an ExportTraceServiceRequest (opentelemetry-proto, trace/v1). */
function spansIn(bytes: Uint8Array): ReceivedSpan[] {
  return messages(fieldsOf(bytes), 1).flatMap((resourceSpans) => {
    const resource = attributesOf(messages(resourceSpans, 1).flatMap((each) => messages(each, 1)));
    return messages(resourceSpans, 2)
      .flatMap((scopeSpans) => messages(scopeSpans, 2))
      .map((span) => spanOf(span, resource));
  });
}

function spanOf(span: Fields, resource: ReceivedSpan['resource']): ReceivedSpan {
  const [status] = messages(span, 15);
  return {
    traceId: hexOf(span, 1),
    spanId: hexOf(span, 2),
    traceState: textOf(span, 3),
    parentId: hexOf(span, 4),
    name: textOf(span, 5),
    kind: KINDS[Number(first(span, 6) ?? 0)]!,
    startNs: BigInt(first(span, 7) as bigint),
    endNs: BigInt(first(span, 8) as bigint),
    attributes: attributesOf(messages(span, 9)),
    isError: status !== undefined && Number(first(status, 3) ?? 0) === STATUS_ERROR,
    resource,
  };
}

function attributesOf(pairs: readonly Fields[]): Record<string, string | number> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const value = messages(pair, 2)[0]!;
      const number = first(value, 3) ?? first(value, 4);
      return [textOf(pair, 1), number === undefined ? textOf(value, 1) : Number(number)];
    }),
  );
}

type Value = bigint | number | Uint8Array;
type Fields = ReadonlyMap<number, readonly Value[]>;

function fieldsOf(bytes: Uint8Array): Fields {
  const fields = new Map<number, Value[]>();
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    const values = fields.get(field) ?? [];
    fields.set(field, values);
    if (type === WireType.LengthDelimited) values.push(reader.bytes());
    else if (type === WireType.Varint) values.push(BigInt(reader.int64()));
    else if (type === WireType.Bit64) values.push(BigInt(reader.fixed64()));
    else values.push(reader.fixed32());
  }
  return fields;
}

const first = (fields: Fields, field: number) => fields.get(field)?.[0];
const messages = (fields: Fields, field: number) =>
  (fields.get(field) ?? []).map((value) => fieldsOf(value as Uint8Array));
const textOf = (fields: Fields, field: number) =>
  Buffer.from((first(fields, field) ?? new Uint8Array()) as Uint8Array).toString();
const hexOf = (fields: Fields, field: number) =>
  Buffer.from((first(fields, field) ?? new Uint8Array()) as Uint8Array).toString('hex');

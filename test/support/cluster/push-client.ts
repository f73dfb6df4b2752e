/** The gRPC push API as a backend uses it, with promises. */
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import {
  type DisconnectResponse,
  type GetPresenceResponse,
  PushRequest,
  type PushResponse,
  PushServiceClient,
  type PushStreamItem,
  type PushStreamResult,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';

export type PushOptions = Partial<Omit<PushRequest, 'clientId' | 'payload'>>;

/** For a push whose edge is dead and will not answer. */
export const NO_ANSWER: PushOptions = { waitMs: 1_000 };

/** Live only: delivered now or never. */
export const LIVE: PushOptions = { ttlMs: 0 };

/** What the caller gets, with the verdict in words. */
export interface Pushed {
  readonly verdict: string;
  readonly messageId: string;
}

/**
 * Much more than a router's own default: on a machine that is busy with other tests, a verdict must
 * not become UNKNOWN. It is waited out only where nobody is there to answer.
 */
const WAIT_MS = 10_000;
const CALL_DEADLINE_MS = 30_000;

export class PushClient {
  readonly #client: PushServiceClient;

  /**
   * @param address `host:port` of a router's gRPC
   * @param token what the router is shown; '' for nothing
   */
  constructor(
    address: string,
    readonly token = '',
  ) {
    this.#client = new PushServiceClient(address, credentials.createInsecure(), {
      // After a restart of the router, the next call does not wait for a long backoff.
      'grpc.max_reconnect_backoff_ms': 500,
    });
  }

  /** Rejects with gRPC's own error; its `code` and `details` are the answer. */
  async push(
    clientId: string,
    payload: string | Uint8Array,
    options: PushOptions = {},
  ): Promise<Pushed> {
    const request = pushRequest(clientId, payload, options);
    const { verdict, messageId } = await this.#call<PushResponse>((...rest) =>
      this.#client.push(request, ...rest),
    );
    return { verdict: wordOf(verdict), messageId };
  }

  presence(clientId: string): Promise<GetPresenceResponse> {
    return this.#call((...rest) => this.#client.getPresence({ clientId }, ...rest));
  }

  disconnect(clientId: string): Promise<DisconnectResponse> {
    return this.#call((...rest) => this.#client.disconnect({ clientId }, ...rest));
  }

  /** Sends frames of items on one stream; resolves with all results when the router ends it. */
  stream(frames: readonly PushStreamItem[][]): Promise<PushStreamResult[]> {
    const stream = this.#client.pushStream(this.#shown(), deadline());
    const results: PushStreamResult[] = [];
    return new Promise((resolve, reject) => {
      stream.on('data', (frame: { results: PushStreamResult[] }) => results.push(...frame.results));
      stream.on('end', () => resolve(results));
      stream.on('error', reject);
      for (const items of frames) stream.write({ items });
      stream.end();
    });
  }

  close(): void {
    this.#client.close();
  }

  #shown(): Metadata {
    const metadata = new Metadata();
    if (this.token !== '') metadata.set('authorization', `Bearer ${this.token}`);
    return metadata;
  }

  #call<T>(
    start: (metadata: Metadata, options: { deadline: number }, callback: Callback<T>) => unknown,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      start(this.#shown(), deadline(), (error, response) => {
        if (error) reject(error);
        else resolve(response);
      });
    });
  }
}

export function pushRequest(
  clientId: string,
  payload: string | Uint8Array,
  options: PushOptions = {},
): PushRequest {
  return PushRequest.fromPartial({
    clientId,
    payload: Buffer.from(payload),
    waitMs: WAIT_MS,
    ...options,
  });
}

export function wordOf(verdict: Verdict): string {
  return Verdict[verdict]!.replace('VERDICT_', '');
}

type Callback<T> = (error: ServiceError | null, response: T) => void;

function deadline() {
  return { deadline: Date.now() + CALL_DEADLINE_MS };
}

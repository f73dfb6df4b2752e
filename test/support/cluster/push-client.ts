/** A backend: the gRPC push API with promises. */
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

/** For a push whose edge is dead: does not wait long for the verdict. */
export const NO_ANSWER: PushOptions = { waitMs: 1_000 };

/** A live push, which is not stored. */
export const LIVE: PushOptions = { ttlMs: 0 };

export interface PushResult {
  /** Such as `DELIVERED`. */
  readonly verdict: string;
  readonly messageId: string;
}

/**
 * Far above the default of a router, so that a verdict does not become UNKNOWN on a busy machine. Only a
 * push without a reply waits that long.
 */
const WAIT_MS = 10_000;
const CALL_DEADLINE_MS = 30_000;

export class PushClient {
  readonly #client: PushServiceClient;

  /**
   * @param address `host:port` of a router's gRPC port
   * @param token bearer token; '' for none
   */
  constructor(
    address: string,
    readonly token = '',
  ) {
    this.#client = new PushServiceClient(address, credentials.createInsecure(), {
      // A call after a restart of the router must not wait for a long backoff.
      'grpc.max_reconnect_backoff_ms': 500,
    });
  }

  /** @throws ServiceError with `code` and `details` of the router */
  async push(
    clientId: string,
    payload: string | Uint8Array,
    options: PushOptions = {},
  ): Promise<PushResult> {
    const request = pushRequest(clientId, payload, options);
    const { verdict, messageId } = await this.#call<PushResponse>((...rest) =>
      this.#client.push(request, ...rest),
    );
    return { verdict: verdictName(verdict), messageId };
  }

  presence(clientId: string): Promise<GetPresenceResponse> {
    return this.#call((...rest) => this.#client.getPresence({ clientId }, ...rest));
  }

  disconnect(clientId: string): Promise<DisconnectResponse> {
    return this.#call((...rest) => this.#client.disconnect({ clientId }, ...rest));
  }

  /** Sends frames of items on one stream. Resolves with all results when the router ends the stream. */
  stream(frames: readonly PushStreamItem[][]): Promise<PushStreamResult[]> {
    const stream = this.#client.pushStream(this.#metadata(), deadline());
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

  #metadata(): Metadata {
    const metadata = new Metadata();
    if (this.token !== '') metadata.set('authorization', `Bearer ${this.token}`);
    return metadata;
  }

  #call<T>(
    start: (metadata: Metadata, options: { deadline: number }, callback: Callback<T>) => unknown,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      start(this.#metadata(), deadline(), (error, response) => {
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

export function verdictName(verdict: Verdict): string {
  return Verdict[verdict]!.replace('VERDICT_', '');
}

type Callback<T> = (error: ServiceError | null, response: T) => void;

function deadline() {
  return { deadline: Date.now() + CALL_DEADLINE_MS };
}

/** A backend: the gRPC push API with promises. */
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import {
  type DeleteGroupResponse,
  GroupServiceClient,
  type JoinGroupResponse,
  type LeaveGroupResponse,
  ListGroupsRequest,
  type ListGroupsResponse,
  ListMembersRequest,
  type ListMembersResponse,
  PushGroupRequest,
  type PushGroupResponse,
} from '../../../proto/gen/longline/v1/group.js';
import {
  type DisconnectResponse,
  type GetPresenceResponse,
  type PushManyResponse,
  PushRequest,
  type PushResponse,
  PushServiceClient,
  type PushStreamItem,
  type PushStreamResult,
  type PushUserResponse,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';

export type PushOptions = Partial<Omit<PushRequest, 'clientId' | 'payload'>>;

/** For a push whose edge is dead: does not wait long for the verdict. */
export const NO_ANSWER: PushOptions = { waitMs: 1_000 };

/** A live push, which is not stored. */
export const LIVE: PushOptions = { ttlMs: 0 };

export interface PushResult {
  /** Such as `WRITTEN`. */
  readonly verdict: string;
  readonly messageId: string;
  /** Absent: it has replaced none. */
  readonly replacedId?: string;
}

/**
 * Far above the default of a router, so that a verdict does not become UNKNOWN on a busy machine.
 * Only a push without a reply waits that long.
 */
const WAIT_MS = 10_000;
const CALL_DEADLINE_MS = 30_000;

export class PushClient {
  readonly #client: PushServiceClient;
  readonly #groups: GroupServiceClient;

  /**
   * @param address `host:port` of a router's gRPC port
   * @param token bearer token; '' for none
   */
  constructor(
    address: string,
    readonly token = '',
  ) {
    // A call after a restart of the router must not wait for a long backoff.
    const options = { 'grpc.max_reconnect_backoff_ms': 500 };
    this.#client = new PushServiceClient(address, credentials.createInsecure(), options);
    this.#groups = new GroupServiceClient(address, credentials.createInsecure(), options);
  }

  /** @throws ServiceError with `code` and `details` of the router */
  async push(
    clientId: string,
    payload: string | Uint8Array,
    options: PushOptions = {},
  ): Promise<PushResult> {
    const request = pushRequest(clientId, payload, options);
    const { verdict, messageId, replacedId } = await this.#call<PushResponse>((...rest) =>
      this.#client.push(request, ...rest),
    );
    const result = { verdict: verdictName(verdict), messageId };
    return replacedId === '' ? result : { ...result, replacedId };
  }

  /** @throws ServiceError with `code` and `details` of the router */
  pushUser(user: string, payload: string, options: PushOptions = {}): Promise<PushUserResponse> {
    const request = { ...pushRequest('', payload, options), user, listDevices: true };
    return this.#call((...rest) => this.#client.pushUser(request, ...rest));
  }

  /** @throws ServiceError with `code` and `details` of the router */
  pushMany(
    clientIds: readonly string[],
    payload: string,
    options: PushOptions = {},
  ): Promise<PushManyResponse> {
    const request = { ...pushRequest('', payload, options), clientIds: [...clientIds] };
    return this.#call((...rest) => this.#client.pushMany(request, ...rest));
  }

  presence(clientId: string, user = ''): Promise<GetPresenceResponse> {
    return this.#call((...rest) => this.#client.getPresence({ clientId, user }, ...rest));
  }

  disconnect(clientId: string, user = ''): Promise<DisconnectResponse> {
    return this.#call((...rest) => this.#client.disconnect({ clientId, user }, ...rest));
  }

  joinGroup(group: string, ...members: string[]): Promise<JoinGroupResponse> {
    return this.#call((...rest) => this.#groups.joinGroup({ group, members }, ...rest));
  }

  leaveGroup(group: string, ...members: string[]): Promise<LeaveGroupResponse> {
    return this.#call((...rest) => this.#groups.leaveGroup({ group, members }, ...rest));
  }

  deleteGroup(group: string): Promise<DeleteGroupResponse> {
    return this.#call((...rest) => this.#groups.deleteGroup({ group }, ...rest));
  }

  listMembers(request: Partial<ListMembersRequest>): Promise<ListMembersResponse> {
    const full = ListMembersRequest.fromPartial(request);
    return this.#call((...rest) => this.#groups.listMembers(full, ...rest));
  }

  listGroups(request: Partial<ListGroupsRequest> = {}): Promise<ListGroupsResponse> {
    const full = ListGroupsRequest.fromPartial(request);
    return this.#call((...rest) => this.#groups.listGroups(full, ...rest));
  }

  /** @param deadlineMs of the call */
  pushGroup(
    group: string,
    payload: string,
    options: Partial<PushGroupRequest> = {},
    deadlineMs = CALL_DEADLINE_MS,
  ): Promise<PushGroupResponse> {
    const request = PushGroupRequest.fromPartial({
      group,
      payload: Buffer.from(payload),
      waitMs: WAIT_MS,
      ...options,
    });
    return this.#call((...rest) => this.#groups.pushGroup(request, ...rest), deadlineMs);
  }

  /**
   * Sends frames of items on one stream. Resolves with all results when the router ends the stream.
   */
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
    this.#groups.close();
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    if (this.token !== '') metadata.set('authorization', `Bearer ${this.token}`);
    return metadata;
  }

  #call<T>(
    start: (metadata: Metadata, options: { deadline: number }, callback: Callback<T>) => unknown,
    deadlineMs = CALL_DEADLINE_MS,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      start(this.#metadata(), deadline(deadlineMs), (error, response) => {
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

function deadline(ms = CALL_DEADLINE_MS) {
  return { deadline: Date.now() + ms };
}

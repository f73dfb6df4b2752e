/**
 * The Push API without an encoding: `grpc/push-service.ts` and `http/routes.ts` translate between
 * the wire and these operations. Authentication, scopes and rates are here, so that both have the
 * same.
 */
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Logger } from '../../common/process/log.js';
import type { Tracer } from '../../common/process/tracing/tracer.js';
import type {
  DeleteGroupRequest,
  DeleteGroupResponse,
  JoinGroupRequest,
  JoinGroupResponse,
  LeaveGroupRequest,
  LeaveGroupResponse,
  ListGroupsRequest,
  ListGroupsResponse,
  ListMembersRequest,
  ListMembersResponse,
  PushGroupRequest,
  PushGroupResponse,
} from '../../proto/gen/longline/v1/group.js';
import type {
  BroadcastRequest,
  BroadcastResponse,
  DisconnectRequest,
  DisconnectResponse,
  GetPresenceRequest,
  GetPresenceResponse,
  PushManyRequest,
  PushManyResponse,
  PushRequest,
  PushResponse,
  PushUserRequest,
  PushUserResponse,
} from '../../proto/gen/longline/v1/push.js';
import type { Scope } from './backend-settings.js';
import type { Backend, Backends, Credentials } from './backends.js';
import { withSpan } from './flight/call-span.js';
import type { Caller } from './flight/push-trace.js';
import { pushGroup } from './groups/group-push.js';
import type { Memberships } from './groups/memberships.js';
import { broadcast } from './many/broadcast.js';
import { pushMany } from './many/push-many.js';
import type { ShardGroups } from './many/shard-groups.js';
import type { Pusher } from './pusher.js';
import type { Users } from './users.js';

/** A request of a backend, in any encoding. */
export interface BackendCall extends Credentials, Caller {
  /**
   * When the response must be ready, in ms of the monotonic clock; Infinity: the call has no
   * deadline.
   */
  readonly answerByMs: number;
  /** Whether the caller has cancelled the call or disconnected. */
  readonly isCancelled: boolean;
}

export interface Operation<Request, Response> {
  readonly scope: Scope;
  run(
    request: Request,
    call: BackendCall,
    backend: Backend,
  ): Promise<Response | Rejection> | Rejection;
}

/** Shared by the operations and the streams of pushes. */
export interface PushApiOptions {
  readonly pusher: Pusher;
  readonly groups: ShardGroups;
  readonly users: Users;
  readonly memberships: Memberships;
  readonly backends: Backends;
  /** Undefined: there is no tracing. */
  readonly tracer?: Tracer | undefined;
  readonly log: Logger;
  /** Aborted when the router shuts down. */
  readonly stopping: AbortSignal;
}

const PUSH_MANY = { operation: 'push', template: 'many', attributes: {} } as const;
const BROADCAST = { operation: 'broadcast', template: '', attributes: {} } as const;

function pushToGroup(group: string) {
  const template = '{group}';
  const attributes = {
    'messaging.destination.name': group,
    'messaging.destination.template': template,
  };
  return { operation: 'push', template, attributes } as const;
}

export class PushApi {
  readonly push: Operation<PushRequest, PushResponse>;
  readonly pushMany: Operation<PushManyRequest, PushManyResponse>;
  readonly pushUser: Operation<PushUserRequest, PushUserResponse>;
  readonly broadcast: Operation<BroadcastRequest, BroadcastResponse>;
  readonly presence: Operation<GetPresenceRequest, GetPresenceResponse>;
  readonly disconnect: Operation<DisconnectRequest, DisconnectResponse>;
  readonly pushGroup: Operation<PushGroupRequest, PushGroupResponse>;
  readonly joinGroup: Operation<JoinGroupRequest, JoinGroupResponse>;
  readonly leaveGroup: Operation<LeaveGroupRequest, LeaveGroupResponse>;
  readonly deleteGroup: Operation<DeleteGroupRequest, DeleteGroupResponse>;
  readonly listMembers: Operation<ListMembersRequest, ListMembersResponse>;
  readonly listGroups: Operation<ListGroupsRequest, ListGroupsResponse>;

  constructor(readonly options: PushApiOptions) {
    const { pusher, groups, users, memberships, tracer, stopping } = options;
    const { store, known } = memberships;
    const many = { pusher, shardGroups: groups, store };
    this.push = {
      scope: 'push',
      run: (request, call, backend) =>
        backend.rejectPushes(1) ?? pusher.push(request, call.answerByMs, true, call),
    };
    this.pushMany = {
      scope: 'push',
      run: (request, call, backend) =>
        backend.rejectPushes(request.clientIds.length) ??
        withSpan(tracer, call, PUSH_MANY, request.payload, (trace) =>
          pushMany(many, request, call.answerByMs, () => call.isCancelled, trace),
        ),
    };
    this.pushUser = {
      scope: 'push',
      run: (request, call, backend) =>
        users.push(request, call, (count) => backend.rejectPushes(count)),
    };
    this.broadcast = {
      scope: 'push',
      run: (request, call, backend) => {
        const { waitMs, payloadBytesMax } = pusher.config;
        const isEnded = () => call.isCancelled || stopping.aborted;
        const limits = { waitMs, payloadBytesMax, answerByMs: call.answerByMs, isEnded };
        return (
          backend.rejectPushes(1) ??
          withSpan(tracer, call, BROADCAST, request.payload, () =>
            this.#counted(broadcast(pusher.shardQueries, groups, request, limits)),
          )
        );
      },
    };
    this.presence = {
      scope: 'presence',
      run: ({ clientId, user }, { answerByMs }) => {
        if (user === '') return pusher.presence(clientId, answerByMs);
        return rejectBoth(clientId) ?? users.presence(user, answerByMs);
      },
    };
    this.disconnect = {
      scope: 'disconnect',
      run: ({ clientId, user }, { answerByMs }) => {
        if (user === '') return pusher.disconnect(clientId, answerByMs);
        return rejectBoth(clientId) ?? users.disconnect(user, answerByMs);
      },
    };
    this.pushGroup = {
      scope: 'push',
      run: (request, call, backend) => {
        const isEnded = () => call.isCancelled || stopping.aborted;
        const rejectPushes = (count: number) => backend.rejectPushes(count);
        const limits = { answerByMs: call.answerByMs, isEnded, rejectPushes };
        const { devicesMax } = users.options;
        const parts = { ...many, store, known, devicesMax };
        return withSpan(tracer, call, pushToGroup(request.group), request.payload, (trace) =>
          this.#counted(pushGroup(parts, request, limits, trace)),
        );
      },
    };
    const ofGroups = <Request, Response extends object>(
      run: (request: Request) => Promise<Response | Rejection>,
    ): Operation<Request, Response> => ({
      scope: 'groups',
      run: (request) => this.#counted(run(request)),
    });
    this.joinGroup = ofGroups((request) => memberships.join(request));
    this.leaveGroup = ofGroups((request) => memberships.leave(request));
    this.deleteGroup = ofGroups((request) => memberships.delete(request));
    this.listMembers = ofGroups((request) => memberships.listMembers(request));
    this.listGroups = ofGroups((request) => memberships.listGroups(request));
  }

  /** Counts the answer if it is a rejection. */
  async #counted<Response extends object>(
    answering: Promise<Response | Rejection>,
  ): Promise<Response | Rejection> {
    const answer = await answering;
    return 'code' in answer ? this.options.pusher.rejected(answer as Rejection) : answer;
  }

  /** Returns the backend that makes a call, if it has the scope. */
  authorize(credentials: Credentials, scope: Scope): Backend | Rejection {
    const { backends, pusher } = this.options;
    const backend = backends.authorize(credentials, scope);
    return 'code' in backend ? pusher.rejected(backend) : backend;
  }

  /** Calls `answer` once. With a callback, because each promise has a cost per push. */
  run<Request, Response extends object>(
    operation: Operation<Request, Response>,
    request: Request,
    call: BackendCall,
    backend: Backend,
    answer: (response: Response | Rejection) => void,
  ): void {
    const result = operation.run(request, call, backend);
    if (result instanceof Promise) {
      result.then(answer, (error) => answer(internal(this.options.log, error)));
    } else answer(this.options.pusher.rejected(result));
  }
}

/** To be called for a request that names a user. */
function rejectBoth(clientId: string): Rejection | undefined {
  if (clientId === '') return undefined;
  return rejection('REQUEST_MALFORMED', 'the request names a client and a user; name one of them');
}

export function internal(log: Logger, error: Error): Rejection {
  log.error({ err: error }, 'push failed unexpectedly');
  return rejection('INTERNAL', 'unexpected failure; see the log of the router');
}

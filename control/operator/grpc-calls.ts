/**
 * Unary calls of the operator API over gRPC: authorised, and answered with a response or an error.
 */
import type { handleUnaryCall, ServerUnaryCall } from '@grpc/grpc-js';
import type { Rejection } from '../../common/process/errors.js';
import { authorizationOf, toServiceError } from '../../common/process/grpc/calls.js';
import type { Permission } from './access.js';
import type { OperatorApi } from './api.js';

export function unaryOf({ access }: Pick<OperatorApi, 'access'>, permission: Permission) {
  return <Request, Response extends object>(
    respond: (
      request: Request,
      actor: string,
      call: ServerUnaryCall<Request, Response>,
    ) => Response | Rejection | Promise<Response | Rejection>,
  ): handleUnaryCall<Request, Response> =>
    async (call, callback) => {
      const actor = access.authorize(authorizationOf(call.metadata), permission);
      const result = typeof actor === 'string' ? await respond(call.request, actor, call) : actor;
      if ('code' in result) callback(toServiceError(result));
      else callback(null, result);
    };
}

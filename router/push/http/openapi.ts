/** The OpenAPI 3.1 document of the Push API over HTTP, generated from its routes. */
import { flightStep } from '../../../common/http/flight-steps.js';
import { contentOf, describeRejections, NamedSchemas } from '../../../common/http/openapi.js';
import type { ErrorCode } from '../../../common/process/errors.js';
import * as groups from './groups.js';
import * as requests from './requests.js';
import * as responses from './responses.js';
import { type DescribedRoute, routes, streamRoute } from './routes.js';
import { NDJSON_TYPE } from './stream.js';

/** The version of the API, which is also in its paths. */
const VERSION = '1';

const DESCRIPTION =
  'Pushes to the clients of a Longline cluster. Every router serves it, for any client. Every verdict has ' +
  'the status 200; what was rejected has a code of the error catalogue.';

const COMMON_REJECTIONS: readonly ErrorCode[] = [
  'REQUEST_MALFORMED',
  'UNAUTHENTICATED',
  'PERMISSION_DENIED',
  'HEAD_TIMEOUT',
  'REQUEST_TIMEOUT',
  'PAYLOAD_TOO_LARGE',
  'HEAD_TOO_LARGE',
  'INTERNAL',
  'NOT_READY',
  'OVERLOADED',
  'REDIS_UNAVAILABLE',
];

const schemas = new NamedSchemas({
  output: {
    Error: responses.errorResponse,
    PushResult: responses.pushResponse,
    PushManyResult: responses.pushManyResponse,
    PushUserResult: responses.pushUserResponse,
    DeviceResult: responses.pushUserResponse.shape.devices.element,
    BroadcastResult: responses.broadcastResponse,
    Presence: responses.presenceResponse,
    Connection: responses.presenceResponse.shape.connections.element,
    DisconnectResult: responses.disconnectResponse,
    StreamResult: responses.streamResult,
    FlightStep: flightStep,
    PushGroupResult: groups.pushGroupResponse,
    JoinGroupResult: groups.joinGroupResponse,
    LeaveGroupResult: groups.leaveGroupResponse,
    DeleteGroupResult: groups.deleteGroupResponse,
    MemberList: groups.listMembersResponse,
    GroupList: groups.listGroupsResponse,
  },
  input: {
    PushRequest: requests.pushBody,
    PushManyRequest: requests.pushManyBody,
    PushUserRequest: requests.pushUserBody,
    BroadcastRequest: requests.broadcastBody,
    ClientRequest: requests.clientBody,
    StreamPush: requests.streamLine,
    PushGroupRequest: groups.pushGroupBody,
    MembersRequest: groups.membersBody,
    GroupRequest: groups.groupBody,
    ListMembersRequest: groups.listMembersBody,
    ListGroupsRequest: groups.listGroupsBody,
  },
});

export function describePushApi(): object {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Longline Push API',
      version: VERSION,
      description: DESCRIPTION,
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/', description: 'The router that serves this document.' }],
    // The empty entry: a router without configured credentials requires none.
    security: [{ token: [] }, {}],
    paths: Object.fromEntries([
      ...routes.map((route) => [route.path, { post: describeRoute(route, 'application/json') }]),
      [streamRoute.path, { post: describeRoute(streamRoute, NDJSON_TYPE) }],
    ]),
    components: {
      schemas: schemas.components,
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          description: 'A token of LONGLINE_BACKEND_TOKENS or its file.',
        },
      },
    },
  };
}

function describeRoute(route: DescribedRoute, type: string): object {
  const { operationId, summary, body, response, rejections } = route;
  return {
    operationId,
    summary,
    requestBody: {
      required: true,
      content: contentOf(schemas.referenceTo(body, 'input'), type),
    },
    responses: {
      200: {
        description: 'Success.',
        content: contentOf(schemas.referenceTo(response, 'output'), type),
      },
      ...describeRejections([...COMMON_REJECTIONS, ...rejections]),
    },
  };
}

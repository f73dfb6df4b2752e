/** The operator API as a table of routes: the types of its entries. */
import type { z } from 'zod';
import type { ErrorCode } from '../../common/process/errors.js';
import type { Access, Permission } from './access.js';
import type { CanariesApi } from './canaries.js';
import type { BlocksApi } from './clients/blocks.js';
import type { ClientLists } from './clients/client-lists.js';
import type { ClientPushes } from './clients/client-pushes.js';
import type { Disconnects } from './clients/disconnects.js';
import type { Inboxes } from './clients/inboxes.js';
import type { RevocationsApi } from './clients/revocations.js';
import type { LedgerApi } from './ledger.js';
import type { Settings } from './operation-responses.js';
import type { OperationsApi } from './operations.js';
import type { OperatorQueries } from './queries.js';

/** Maximum size of the body of a request. */
export const BODY_BYTES_MAX = 4096;

export interface OperatorApi {
  readonly queries: OperatorQueries;
  readonly ledger: LedgerApi;
  readonly canaries: CanariesApi;
  readonly operations: OperationsApi;
  readonly blocks: BlocksApi;
  readonly revocations: RevocationsApi;
  readonly clients: ClientLists;
  readonly disconnects: Disconnects;
  readonly inboxes: Inboxes;
  readonly pushes: ClientPushes;
  readonly access: Access;
  /** Settings of this control, without secrets. */
  readonly settings: Settings;
}

export interface Call<Body = unknown> {
  /** Path segment as received, percent-encoded; empty if the path has no parameter. */
  readonly parameter: string;
  /** Parsed by the schema of the route: the body, or the query of a route with one. */
  readonly body: Body;
  readonly actor: string;
  /** Id of the newest event that the caller has; 0: none. */
  readonly after: number;
}

interface RouteOf<Body> {
  /** In OpenAPI notation, with at most one parameter. */
  readonly path: string;
  /** Name of the operation in code that is generated from the OpenAPI document. */
  readonly operationId: string;
  readonly summary: string;
  readonly response: z.ZodObject;
  /** Besides the codes that all routes with the same permission have. */
  readonly rejections: readonly ErrorCode[];
  // A method, so that the table can contain routes of all bodies.
  respond(api: OperatorApi, call: Call<Body>): object | Promise<object>;
}

export interface Route extends RouteOf<unknown> {
  readonly permission: Permission;
  readonly body?: z.ZodObject;
  readonly query?: z.ZodObject;
  /** The event log: it has the parameter `after` and can be streamed. */
  readonly isLog?: boolean;
}

export function read(route: RouteOf<unknown>): Route {
  return { ...route, permission: 'read' };
}

/** A read with parameters in its query. */
export function query<Query extends z.ZodObject>(
  route: RouteOf<z.infer<Query>> & { readonly query: Query },
): Route {
  return { ...route, permission: 'read' };
}

export function write<Body extends z.ZodObject>(
  route: RouteOf<z.infer<Body>> & { readonly body: Body },
): Route {
  return { ...route, permission: 'write' };
}

/** A read that is audited, with a reason in its body. */
export function readPayload<Body extends z.ZodObject>(
  route: RouteOf<z.infer<Body>> & { readonly body: Body },
): Route {
  return { ...route, permission: 'payload' };
}

/** A report of a canary, which changes nothing but what is shown. */
export function report<Body extends z.ZodObject>(
  route: RouteOf<z.infer<Body>> & { readonly body: Body },
): Route {
  return { ...route, permission: 'report' };
}

export const METHODS: Readonly<Record<Permission, 'GET' | 'POST'>> = {
  read: 'GET',
  write: 'POST',
  payload: 'POST',
  report: 'POST',
};

/**
 * What a protocol is to the rest of an edge: it gives bytes meaning, in both directions, and knows
 * no sockets. One object serves all connections that speak it, so that an idle connection costs
 * nothing here: what a connection needs beyond typed arrays exists only while it is needed (half a
 * frame, a push that is not confirmed yet).
 *
 * The edge calls a `Protocol`; the protocol calls its `Host`.
 */
import type { Credentials } from '../../common/auth/authenticator.js';
import type { Rejection } from '../../common/process/errors.js';
import type { Connection } from '../../common/transport/transport.js';
import type { ConnectQuery } from '../../common/wire/connect-query.js';

/**
 * Why a connection of a client ended. `peer`, `error` as the transport says · `slow` its send
 * buffer was full · `session_replaced` its client has a newer connection · `disconnected` a backend
 * asked for it · `unexpected_bytes` it sent something that its protocol does not allow ·
 * `silent` it has not said for too long that it is there · `not_ready` its shard's subscription was
 * not confirmed in time · `flooding` it has sent more than it may in a second · `goaway` its shard
 * belongs to another edge, or this edge is to be empty · `expired` its token has ended, or a newer
 * one was not good.
 */
export type EndReason =
  | 'peer'
  | 'error'
  | 'slow'
  | 'session_replaced'
  | 'disconnected'
  | 'unexpected_bytes'
  | 'silent'
  | 'not_ready'
  | 'flooding'
  | 'goaway'
  | 'expired';

/** A push on its way to a device. */
export interface Message {
  /** Of a durable push; '': live only. */
  readonly id: string;
  readonly payload: Buffer;
  /** Printable ASCII, such as `application/json`; '': the backend did not say. */
  readonly contentType: string;
  /** For how much longer it is worth anything, in milliseconds; 0: live only. */
  readonly ttlMs: number;
}

/** Where a device that was not told what it missed begins: with all that is not confirmed, or now. */
export type StartFrom = 'unconfirmed' | 'now';

export interface Protocol {
  /** As in presence, such as `sse`. */
  readonly name: string;
  /** Set once, before the first connection: the edge and its protocols know each other. */
  host: Host;
  /** Whether a push looks the same to every connection, so that it need be encoded only once. */
  readonly isShared: boolean;
  /** Every connection gets it from time to time; undefined: here the device is the one that beats. */
  readonly heartbeat: Buffer | undefined;
  /** The history of the client is not complete; undefined: this protocol has no way to say so. */
  readonly reset: Buffer | undefined;
  /**
   * A push as the device gets it. Undefined: the device has to confirm others first; the push
   * waits in the inbox until the host is told to `wake` the connection. Only for one with an id.
   */
  encode(connection: Connection, message: Message): Buffer | undefined;
  /**
   * The last bytes for a device that belongs elsewhere.
   * @param url where to connect; undefined: nobody knows, the router is to be asked
   */
  goaway(connection: Connection, retryMs: number, url: string | undefined): Buffer | undefined;
  /** Its token is about to end; undefined, or absent: this protocol has no way to say so. */
  expiring?(connection: Connection, inMs: number): Buffer | undefined;
  /** A newer ticket for a device that has shown a newer token; likewise. */
  ticket?(connection: Connection, ticket: string): Buffer | undefined;
  /** The last bytes of a connection that ends for any other reason; its client is unknown by then. */
  farewell(connection: Connection, reason: EndReason): Buffer | undefined;
  /** The device has sent something, after it was answered. Only valid during the call. */
  onBytes(connection: Connection, bytes: Buffer): void;
  /** A device that listens from now on is told everything that is pushed from here on. */
  onListening?(connection: Connection): void;
  /** The timer that the host was asked for has run out. */
  onTimer?(connection: Connection): void;
  /**
   * The connection has ended, its client is unknown: what was kept of it is to be forgotten.
   * @param clientId whose it was
   */
  onClosed?(connection: Connection, clientId: string, reason: EndReason): void;
  /** About once a second. */
  sweep?(): void;
}

/** What a protocol can have done. All of it is about a connection that was answered. */
export interface Host {
  /** Writes what the protocol itself has to say. One that does not read is ended as slow. */
  reply(connection: Connection, bytes: Uint8Array): void;
  /** The device has everything up to `id`. Ids that it was not sent are none of its business. */
  confirm(connection: Connection, id: string): void;
  /** A device that was answered with `startsUnsubscribed` wants pushes from now on. */
  listen(connection: Connection, from: StartFrom): void;
  /** It wants no more. */
  unlisten(connection: Connection): void;
  /** Pushes that `encode` had no room for can be tried again. */
  wake(connection: Connection): void;
  /** The device shows a newer token, or a ticket; one that is not good ends the connection. */
  renew(connection: Connection, token: string): void;
  /** Ends it, with these last bytes or with those of `farewell`. */
  end(connection: Connection, reason: EndReason, last?: Buffer): void;
  /** Of the transport: one per connection, coarse. 0 stops it. */
  setTimer(connection: Connection, afterMs: number): void;
  clientIdOf(connection: Connection): string;
  /** The newest id that was written to it, or ''. */
  sentId(connection: Connection): string;
}

/** What a device says when it connects, whatever it speaks. */
export interface ConnectRequest {
  readonly protocol: Protocol;
  /** The newest id that it has: an id, '' for none, undefined for something that is no id. */
  readonly cursor: string | undefined;
  readonly from: StartFrom;
  /** It is to get nothing until it asks for it. */
  readonly startsUnsubscribed: boolean;
  /** It says that it was connected before: it is let in before those who were not. */
  readonly isResuming: boolean;
  /** How it shows that it is who it says. */
  readonly credentials: Credentials;
  /** Where it was sent from and what it has, for whoever sends it on. */
  readonly query: ConnectQuery;
  /** Bytes behind the introduction: they are for the protocol, once the device is answered. */
  readonly rest: Buffer;
  /** Whether more may come before it is answered; else that ends the connection. */
  readonly acceptsEarlyData: boolean;
  /**
   * What it is told first, as soon as it is answered.
   * @param ticket with which it may come back; undefined where nobody needs one
   */
  answer(ticket: string | undefined): Buffer;
  /** What it is told instead. */
  reject(rejected: Rejection): Buffer;
  /** What sends it to another address; undefined: it would not follow. */
  redirect(url: string): Buffer | undefined;
  /** The connection is registered, and will be answered or rejected. */
  onRegistered?(connection: Connection): void;
  /** To be waited for before it is answered. */
  prepare?(): Promise<Rejection | undefined>;
}

/** What the first bytes of a connection turn out to be. */
export type FirstBytes =
  | { readonly type: 'incomplete' }
  | { readonly type: 'introduction'; readonly introduction: ConnectRequest }
  /** A complete exchange of its own, such as a preflight request. */
  | { readonly type: 'answered'; readonly bytes: Buffer }
  | { readonly type: 'rejected'; readonly rejected: Rejection; readonly bytes: Buffer };

/** Reads the first bytes of the connections that begin in its way. */
export interface ProtocolDetector {
  couldBe(bytes: Buffer): boolean;
  /**
   * @param bytes all that have come
   * @param searched how many of them an earlier call has seen
   */
  read(bytes: Buffer, searched: number): FirstBytes;
  /** What is said when the rest does not come in time, or when nobody has come to know it. */
  reject(rejected: Rejection): Buffer;
}

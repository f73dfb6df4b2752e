/**
 * Contract between an edge and the protocols that devices speak. A protocol encodes pushes and
 * decodes the bytes of devices; it opens no sockets. One object serves all connections of a
 * protocol and allocates per connection only while needed (an incomplete frame, an unconfirmed
 * push), so an idle connection costs nothing here beyond typed arrays.
 *
 * The edge calls a `Protocol`; the protocol calls its `Host`.
 */
import type { Credentials, Verified } from '../../common/auth/authenticator.js';
import type { GroupClaims } from '../../common/auth/claims/group-claims.js';
import type { Rejection } from '../../common/process/errors.js';
import type { Connection } from '../../common/transport/transport.js';
import type { ConnectQuery } from '../../common/wire/connect-query.js';
import type { Appended } from '../../common/wire/push-envelope.js';
import type { WhenSlow } from '../../proto/gen/longline/v1/push.js';

/**
 * Reason for which a client's connection ended:
 *
 * - `peer`, `error`: as the transport reports it;
 * - `slow`: the send buffer was full;
 * - `session_replaced`: the client has a newer connection;
 * - `disconnected`: a backend called Disconnect, or an operator disconnected or blocked the client;
 * - `unexpected_bytes`: the device violated its protocol;
 * - `silent`: no sign of life within the protocol's timeout, or a packet that stayed incomplete;
 * - `not_ready`: the subscription of the shard was not confirmed in time;
 * - `flooding`: the device exceeded its rate of bytes or frames;
 * - `push_too_large`: the device closed the connection and said that a push was too large for it;
 * - `goaway`: another edge owns the shard, or this edge drains;
 * - `expired`: the token expired, or a newer token was invalid;
 * - `revoked`: an operator has revoked tokens that were issued before a time, this one among them.
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
  | 'push_too_large'
  | 'goaway'
  | 'expired'
  | 'revoked';

/** A push to one device. */
export interface Message {
  /** Id of a durable push; '' for a live-only push. */
  readonly id: string;
  readonly payload: Buffer;
  /** Printable ASCII, such as `application/json`; '' if the backend set none. */
  readonly contentType: string;
  /** Remaining TTL in milliseconds; 0 for a live-only push. */
  readonly ttlMs: number;
  /** Undefined: it is not a part of a growing message. */
  readonly appended?: Appended | undefined;
  /** Whether a later push may replace it in the inbox. */
  readonly collapsible?: boolean;
  /** Reaction to a full send buffer; absent: end the connection. */
  readonly whenSlow?: WhenSlow;
}

/** First push to deliver to a device without a cursor: the oldest unconfirmed one, or the next. */
export type StartFrom = 'unconfirmed' | 'now';

export interface Protocol {
  /** Name in presence and metrics, such as `sse`. */
  readonly name: string;
  /** Whether a push has the same bytes on every connection, so that it is encoded only once. */
  readonly isEncodingShared: boolean;
  /**
   * Whether stored parts of a growing message can be written as one push, with the id of the last
   * one.
   */
  readonly joinsParts: boolean;
  /** Sent to every connection periodically; undefined if the device sends the heartbeats. */
  readonly heartbeat: Buffer | undefined;
  /**
   * Encodes a push. Returns undefined when the device must confirm earlier pushes first; the push
   * then stays in the inbox until the protocol calls `resumePushes`. Only for a push with an id.
   */
  encodePush(connection: Connection, message: Message): Buffer | undefined;
  /**
   * Encodes the report of a gap in the client's history; absent if the protocol cannot express it.
   * @param id position at which the pushes still stored follow; '' if it is unknown
   */
  encodeReset?(connection: Connection, id: string): Buffer;
  /** Size of an encoded push as the device's library sees it; absent: all of its bytes. */
  messageBytes?(encoded: Buffer): number;
  /**
   * Encodes the last bytes before the connection is closed because of a goaway.
   * @param url where to connect next; undefined: ask the router
   */
  encodeGoaway(
    connection: Connection,
    retryMs: number,
    url: string | undefined,
  ): Buffer | undefined;
  /**
   * Encodes the warning that the token expires in `inMs` milliseconds. Returns undefined, or is
   * absent, if the protocol cannot express it.
   */
  encodeTokenExpiring?(connection: Connection, inMs: number): Buffer | undefined;
  /** Encodes a new resume ticket after a renewed token; undefined or absent as above. */
  encodeTicket?(connection: Connection, ticket: string): Buffer | undefined;
  /**
   * Encodes the last bytes before the connection is closed for any other reason. The connection
   * has left the connection table by then, so its clientId is unknown.
   */
  encodeClose(connection: Connection, reason: EndReason): Buffer | undefined;
  /**
   * Processes bytes of an accepted connection; `bytes` are only valid during the call. Absent if
   * devices only listen: the edge then ends the connection.
   */
  onBytes?(connection: Connection, bytes: Buffer): void;
  /** The subscription is active: the device receives every push from here on. */
  onSubscribed?(connection: Connection): void;
  /** The timer of `Host.setTimer` has expired. */
  onTimer?(connection: Connection): void;
  /**
   * Releases the state of a connection that has ended and left the connection table.
   * @param clientId client that the connection belonged to
   */
  onClosed?(connection: Connection, clientId: string, reason: EndReason): void;
  /** Called about once a second. */
  sweep?(): void;
}

/** Operations of the edge for its protocols, on accepted connections. */
export interface Host {
  /** Writes the protocol's own bytes. Ends a connection whose send buffer is full as `slow`. */
  reply(connection: Connection, bytes: Uint8Array): void;
  /** Confirms all pushes up to `id`. Ignores an id that was not sent on this connection. */
  confirm(connection: Connection, id: string): void;
  /** Confirms only the push `id`, while an earlier one is not confirmed. */
  confirmSingle(connection: Connection, id: string): void;
  /** Starts delivery to a device that was accepted with `startsUnsubscribed`. */
  subscribe(connection: Connection, startFrom: StartFrom): void;
  /** Stops delivery. */
  unsubscribe(connection: Connection): void;
  /** Retries pushes for which `encodePush` returned undefined. */
  resumePushes(connection: Connection): void;
  /** Skips pushes from here on whose message is larger. */
  limitMessages(connection: Connection, bytesMax: number): void;
  /** Replaces the token, by a token or a ticket; an invalid one ends the connection. */
  renewToken(connection: Connection, token: string): void;
  /** Ends the connection with `last`, or with the bytes of `encodeClose`. */
  end(connection: Connection, reason: EndReason, last?: Buffer): void;
  /** Sets the transport's coarse timer, one per connection; 0 stops it. */
  setTimer(connection: Connection, afterMs: number): void;
  clientIdOf(connection: Connection): string;
  /** Newest id that was written to the connection; '' if none. */
  lastSentId(connection: Connection): string;
}

/**
 * Groups that devices join and leave by themselves. The results are rejections; undefined: done.
 */
export interface GroupHost {
  join(connection: Connection, group: string): Promise<Rejection | undefined>;
  leave(connection: Connection, group: string): Promise<Rejection | undefined>;
  /** For a device that connects. @param claims of its token */
  joinAll(
    clientId: string,
    claims: GroupClaims,
    groups: readonly string[],
  ): Promise<Rejection | undefined>;
}

/**
 * Request of a device to connect, in any protocol. `accept`, `reject` and `redirect` encode the
 * response; the edge writes it.
 */
export interface ConnectRequest {
  readonly protocol: Protocol;
  /** Newest id that the device has: an id, '' for none, undefined if it sent an invalid one. */
  readonly cursor: string | undefined;
  readonly startFrom: StartFrom;
  /** Whether delivery starts only with `Host.subscribe`. */
  readonly startsUnsubscribed: boolean;
  /** Whether the device claims an earlier connection; these are admitted before new devices. */
  readonly isResuming: boolean;
  /** Token and resume ticket, not yet verified. */
  readonly credentials: Credentials;
  /** Query of `/connect`, which a redirect repeats. */
  readonly query: ConnectQuery;
  /** Bytes that followed the request; `protocol` receives them once the device is accepted. */
  readonly earlyData: Buffer;
  /** Whether the device may send early data; otherwise it ends the connection. */
  readonly acceptsEarlyData: boolean;
  /**
   * Encodes the first bytes of an accepted connection.
   * @param ticket resume ticket; undefined if devices are not authenticated
   */
  accept(ticket: string | undefined): Buffer;
  /** Encodes the response to a rejected request. */
  reject(rejected: Rejection): Buffer;
  /**
   * Encodes a response after which the device reconnects to the same address later, in a form that
   * its usual clients understand.
   */
  retryLater(rejected: Rejection): Buffer;
  /** Whether the device follows a redirect. */
  readonly followsRedirects: boolean;
  /** Encodes a redirect to another edge; undefined if the device would not follow it. */
  redirect(url: string): Buffer | undefined;
  /** The connection is in the connection table; it will be accepted or rejected. */
  onRegistered?(connection: Connection): void;
  /** Loads or stores what the connection needs; the edge waits for it. */
  prepare?(verified: Verified): Promise<Rejection | undefined> | undefined;
}

/** Result of protocol detection on the first bytes of a connection. */
export type DetectionResult =
  /** @property reply bytes to send now */
  | { readonly type: 'incomplete'; readonly reply?: Buffer | undefined }
  | {
      readonly type: 'connect';
      readonly request: ConnectRequest;
      readonly reply?: Buffer | undefined;
    }
  | Upgraded
  /** A complete exchange without a client, such as a preflight request. */
  | { readonly type: 'answered'; readonly bytes: Buffer }
  | { readonly type: 'rejected'; readonly rejected: Rejection; readonly bytes: Buffer };

/** The connect request follows in another protocol, after a response to these bytes. */
export interface Upgraded {
  readonly type: 'upgraded';
  readonly response: Buffer;
  /** Reads this connection from now on, and keeps its bytes itself. */
  readonly detector: ProtocolDetector;
  /** Bytes that have arrived already. */
  readonly rest: Buffer;
}

/** Parses the connect request of one protocol family. */
export interface ProtocolDetector {
  /** Whether a connection that starts with `bytes` may speak this protocol. */
  couldBe(bytes: Buffer): boolean;
  /**
   * @param bytes all bytes received so far
   * @param searched number of them that an earlier call has searched
   */
  read(bytes: Buffer, searched: number): DetectionResult;
  /** Encodes a rejection for a device whose request is incomplete or unknown. */
  reject(rejected: Rejection): Buffer;
}

/** States, events and actions of the client: what goes into `machine.ts` and what comes out. */
import type { Delivery } from './deliveries.js';
import type { DeviceMessage, ServerMessage } from './messages.js';

/** Kind of connection: a WebSocket, or an HTTP response that does not end. */
export type Via = 'websocket' | 'stream';

/** State of the client, as `onState` receives it. */
export type ClientState =
  /** An attempt to connect has started. */
  | { readonly type: 'connecting' }
  /** Connected: the client receives every push from here on. */
  | { readonly type: 'connected'; readonly via: Via }
  /**
   * Not connected. The next attempt starts in `retryMs` milliseconds, or earlier when the network
   * is back. With the code `SLOW_CONSUMER` it also waits until `onPush` has taken all that it
   * received, and in any case until it has taken the parts of growing messages.
   */
  | {
      readonly type: 'waiting';
      readonly retryMs: number;
      /**
       * For programs: an error code of Longline or one of this client (docs/devices.md has a
       * table).
       */
      readonly code: string;
      /** For logs. */
      readonly reason: string;
      /** With the code `PUSH_FAILED`: failures in a row of this push. */
      readonly attempts?: number | undefined;
    }
  /** Another tab has the connection. With `onReplaced: 'wait'`; ends when that tab closes. */
  | { readonly type: 'standby' }
  /** Closed for good by `close()`, or because the clientId has a newer connection. */
  | { readonly type: 'closed'; readonly reason: 'closed' | 'session-replaced' }
  /** Closed for good, because another attempt would be rejected, too. */
  | {
      readonly type: 'closed';
      readonly reason: 'rejected';
      readonly code: string;
      readonly message: string;
    };

export type ClientEvent =
  | { readonly type: 'message'; readonly attempt: number; readonly message: ServerMessage }
  /** The attempt failed, or its connection has ended. */
  | { readonly type: 'failed'; readonly attempt: number; readonly failure: Failure }
  /** The network may be back, or the page is visible: check the connection, or retry sooner. */
  | { readonly type: 'probe' }
  /** The application has taken a delivery, or has thrown or rejected for `failure`. */
  | { readonly type: 'returned'; readonly delivery: number; readonly failure: string | undefined }
  /** The other tab has closed; or, not granted, there was none. */
  | { readonly type: 'turn'; readonly isGranted: boolean }
  | { readonly type: 'close' };

export interface Failure {
  /**
   * Error code of the server, `CLOSE_` and the close code of a WebSocket, or a code of this client.
   */
  readonly code: string;
  readonly reason: string;
  /** Retry-After of the server, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
  /**
   * Absent: the next attempt may succeed. `unproven`: it will not, unless this router has
   * worked before. `token`: it may with another token.
   */
  readonly permanence?: 'permanent' | 'unproven' | 'token' | undefined;
}

export type ClientAction =
  /**
   * Connect to `url`, or without it to the edge that the router returns. `ticket` replaces a token.
   */
  | {
      readonly type: 'open';
      readonly attempt: number;
      readonly via: Via;
      readonly url: string | undefined;
      readonly lastEventId: string;
      readonly ticket: string | undefined;
    }
  /** Abort the current attempt and close its connection. */
  | { readonly type: 'abort' }
  /** Send a message; over a WebSocket only. */
  | { readonly type: 'send'; readonly message: DeviceMessage }
  /** Obtain a new token and send it; over a WebSocket only. */
  | { readonly type: 'renew-token' }
  /** Call `onPush`, or `onGap` without a push, and report the result as `returned`. */
  | ({ readonly type: 'deliver' } & Delivery)
  /** Call `onState`; on standby wait for the other tab and report the result as `turn`. */
  | { readonly type: 'state'; readonly state: ClientState };

/** Result of a step. */
export interface ClientOutput {
  /** To be performed in order. */
  readonly actions: readonly ClientAction[];
  /** Time of the next step if no event arrives before; Infinity: none. */
  readonly wakeAtMs: number;
}

/**
 * Inbound half of a WebSocket: parses frames into messages, answers pings, echoes close frames, and
 * fails the connection on a violation or an exceeded limit, with the close code of the RFC.
 *
 * Per connection there are four bytes that count the frames of the current second, and a reader
 * while a message is incomplete. The transport's timer ends a connection that sent nothing, not
 * even a pong, for `HEARTBEATS_MISSED_MAX` heartbeats.
 */
import type { Counter } from 'prom-client';
import type { Metrics } from '../../../common/process/metrics.js';
import type { Connection } from '../../../common/transport/transport.js';
import {
  FrameReader,
  type FrameSink,
  NO_CLOSE_CODE,
  type Violation,
} from '../../../common/wire/websocket/frame.js';
import { closeFrame, pongFrame } from '../../../common/wire/websocket/writer.js';
import type { Host } from '../protocol.js';
import { SecondCounts } from '../second-counts.js';

export interface WebSocketConfig {
  readonly heartbeatMs: number;
  /** Per device; exceeding it closes the connection. */
  readonly inboundFramesPerSecondMax: number;
}

/** Protocol that receives the messages. */
export interface MessageSink {
  readonly host: Pick<Host, 'reply' | 'end' | 'setTimer'>;
  /** Maximum size of a message. */
  readonly messageBytesMax: number;
  /** Returns a violation if the message is invalid. */
  onMessage(connection: Connection, payload: Buffer, isText: boolean): Violation | undefined;
  onPong(connection: Connection, payload: Buffer): void;
}

/** Maximum frames per message; client libraries send messages of a few KiB in far fewer. */
const FRAGMENTS_MAX = 128;
/** Maximum incomplete messages at once, over all connections: a few MB with their bytes. */
const INCOMPLETE_MAX = 4_096;
/** Maximum sweeps, one per second, until a message must be complete. */
const INCOMPLETE_SWEEPS_MAX = 10;
/** Maximum pongs per read; of further pings only the newest is answered (RFC 6455 §5.5.3). */
const PONGS_MAX = 16;
const HEARTBEATS_MISSED_MAX = 3;

/** RFC 6455 §7.4.1 */
const NORMAL = 1000;
const MESSAGE_TOO_BIG = 1009;

interface Incomplete {
  readonly reader: FrameReader;
  readonly sinceSweep: number;
}

export class WebSocketInbound implements FrameSink {
  /** Readers with an incomplete message, oldest first. */
  readonly #incomplete = new Map<Connection, Incomplete>();
  /** Frames received in the current second. */
  readonly #frames = new SecondCounts();
  /** Shared by all connections without an incomplete message. */
  #idleReader: FrameReader;
  #sweeps = 0;
  readonly #failed: Counter<'code'>;

  /**
   * State of the current call of `read`, for the callbacks of the reader. The connection is
   * undefined once it has ended.
   */
  #connection: Connection | undefined;
  #frameCount = 0;
  #hasMessageEnded = false;
  #pongs: Buffer[] = [];
  #violation: Violation | undefined;
  #closeCode: number | undefined;

  constructor(
    readonly config: WebSocketConfig,
    readonly sink: MessageSink,
    failed: Counter<'code'>,
  ) {
    this.#failed = failed;
    this.#idleReader = this.#newReader();
  }

  /** Starts or restarts the timer that ends a silent connection. */
  restartTimer(connection: Connection): void {
    const silentMsMax = HEARTBEATS_MISSED_MAX * this.config.heartbeatMs;
    this.sink.host.setTimer(connection, silentMsMax);
  }

  read(connection: Connection, bytes: Buffer): void {
    this.restartTimer(connection);
    const reader = this.#incomplete.get(connection)?.reader ?? this.#idleReader;
    this.#connection = connection;
    this.#frameCount = this.#frames.get(connection);
    this.#violation = this.#closeCode = undefined;
    this.#hasMessageEnded = false;
    const violation = reader.read(bytes);
    this.#keep(reader);
    this.#answerPings(connection);
    if (this.#frameCount > this.config.inboundFramesPerSecondMax) {
      return this.sink.host.end(connection, 'flooding');
    }
    if (this.#connection !== undefined) this.#frames.set(connection, this.#frameCount);
    if (violation !== undefined) this.#fail(connection, violation);
    else if (this.#violation !== undefined) this.#fail(connection, this.#violation);
    else if (this.#closeCode !== undefined) this.#echoClose(connection, this.#closeCode);
  }

  /** Releases the state of a connection that has ended. */
  forget(connection: Connection): void {
    this.#incomplete.delete(connection);
    this.#frames.forget(connection);
    if (this.#connection === connection) this.#connection = undefined;
  }

  /** Call about once a second. */
  sweep(): void {
    this.#sweeps++;
    this.#frames.clear();
    for (const [connection, { sinceSweep }] of this.#incomplete) {
      if (this.#sweeps - sinceSweep <= INCOMPLETE_SWEEPS_MAX) break;
      this.#fail(connection, { closeCode: 1008, reason: 'message incomplete after 10 s' });
    }
  }

  onMessage(payload: Buffer, isText: boolean): void {
    this.#hasMessageEnded = true;
    if (!this.#countFrame()) return;
    // Pongs first, in order of arrival. Writing them may end a slow connection.
    this.#answerPings(this.#connection!);
    if (this.#connection === undefined) return;
    this.#violation = this.sink.onMessage(this.#connection, payload, isText);
  }

  onPing(payload: Buffer): void {
    if (!this.#countFrame()) return;
    if (this.#pongs.length === PONGS_MAX) this.#pongs.pop();
    this.#pongs.push(pongFrame(payload));
  }

  onPong(payload: Buffer): void {
    if (this.#countFrame()) this.sink.onPong(this.#connection!, payload);
  }

  onClose(code: number): void {
    if (this.#countFrame()) this.#closeCode = code;
  }

  /**
   * Counts a frame. Returns false if it must be ignored: the connection has failed or ended, or is
   * over its rate.
   */
  #countFrame(): boolean {
    if (this.#connection === undefined || this.#violation !== undefined) return false;
    return ++this.#frameCount <= this.config.inboundFramesPerSecondMax;
  }

  /** Keeps a reader exactly while its message is incomplete. */
  #keep(reader: FrameReader): void {
    const connection = this.#connection;
    if (reader === this.#idleReader && !reader.isIdle) this.#idleReader = this.#newReader();
    if (connection === undefined || reader.isClosed) return;
    // The incomplete message may be a later one than before, with its own deadline.
    if (reader.isIdle || this.#hasMessageEnded) this.#incomplete.delete(connection);
    if (reader.isIdle || this.#incomplete.has(connection)) return;
    this.#incomplete.set(connection, { reader, sinceSweep: this.#sweeps });
    if (this.#incomplete.size <= INCOMPLETE_MAX) return;
    this.#violation ??= { closeCode: 1013, reason: 'too many incomplete messages' };
  }

  #answerPings(connection: Connection): void {
    if (this.#pongs.length === 0) return;
    const [only] = this.#pongs;
    const bytes = this.#pongs.length === 1 ? only! : Buffer.concat(this.#pongs);
    this.#pongs = [];
    this.sink.host.reply(connection, bytes);
  }

  /** RFC 6455 §7.1.7 */
  #fail(connection: Connection, { closeCode, reason }: Violation): void {
    this.#failed.inc({ code: closeCode });
    this.sink.host.end(connection, 'unexpected_bytes', closeFrame(closeCode, reason));
  }

  /** RFC 6455 §5.5.1 */
  #echoClose(connection: Connection, code: number): void {
    const echoed = code === NO_CLOSE_CODE ? NORMAL : code;
    const reason = code === MESSAGE_TOO_BIG ? 'push_too_large' : 'peer';
    this.sink.host.end(connection, reason, closeFrame(echoed));
  }

  #newReader(): FrameReader {
    const { messageBytesMax } = this.sink;
    return new FrameReader({ messageBytesMax, fragmentsMax: FRAGMENTS_MAX }, this);
  }
}

/** Counter that all WebSocket protocols share. */
export function webSocketFailures(metrics: Metrics): Counter<'code'> {
  return metrics.counter(
    'longline_edge_websocket_failures_total',
    'WebSockets closed because of what the device sent, by close code',
    ['code'],
  );
}
